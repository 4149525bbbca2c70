from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PortControlRequest(_message.Message):
    __slots__ = ("op", "pci_addrs", "virtio_id", "conditional", "name", "mode", "vhost_path")
    class Op(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ADD: _ClassVar[PortControlRequest.Op]
        REMOVE: _ClassVar[PortControlRequest.Op]
        ADD_SOCK: _ClassVar[PortControlRequest.Op]
        REMOVE_SOCK: _ClassVar[PortControlRequest.Op]
        QUERY_PCI: _ClassVar[PortControlRequest.Op]
    ADD: PortControlRequest.Op
    REMOVE: PortControlRequest.Op
    ADD_SOCK: PortControlRequest.Op
    REMOVE_SOCK: PortControlRequest.Op
    QUERY_PCI: PortControlRequest.Op
    class PciAddress(_message.Message):
        __slots__ = ("domain", "bus", "slot", "function")
        DOMAIN_FIELD_NUMBER: _ClassVar[int]
        BUS_FIELD_NUMBER: _ClassVar[int]
        SLOT_FIELD_NUMBER: _ClassVar[int]
        FUNCTION_FIELD_NUMBER: _ClassVar[int]
        domain: int
        bus: int
        slot: int
        function: int
        def __init__(self, domain: _Optional[int] = ..., bus: _Optional[int] = ..., slot: _Optional[int] = ..., function: _Optional[int] = ...) -> None: ...
    OP_FIELD_NUMBER: _ClassVar[int]
    PCI_ADDRS_FIELD_NUMBER: _ClassVar[int]
    VIRTIO_ID_FIELD_NUMBER: _ClassVar[int]
    CONDITIONAL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    VHOST_PATH_FIELD_NUMBER: _ClassVar[int]
    op: PortControlRequest.Op
    pci_addrs: _containers.RepeatedCompositeFieldContainer[PortControlRequest.PciAddress]
    virtio_id: int
    conditional: bool
    name: str
    mode: int
    vhost_path: str
    def __init__(self, op: _Optional[_Union[PortControlRequest.Op, str]] = ..., pci_addrs: _Optional[_Iterable[_Union[PortControlRequest.PciAddress, _Mapping]]] = ..., virtio_id: _Optional[int] = ..., conditional: _Optional[bool] = ..., name: _Optional[str] = ..., mode: _Optional[int] = ..., vhost_path: _Optional[str] = ...) -> None: ...

class PortControlResponse(_message.Message):
    __slots__ = ("status", "error_code", "error_code_source", "query_string")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ERROR: _ClassVar[PortControlResponse.Status]
        OK: _ClassVar[PortControlResponse.Status]
    ERROR: PortControlResponse.Status
    OK: PortControlResponse.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    QUERY_STRING_FIELD_NUMBER: _ClassVar[int]
    status: PortControlResponse.Status
    error_code: int
    error_code_source: str
    query_string: str
    def __init__(self, status: _Optional[_Union[PortControlResponse.Status, str]] = ..., error_code: _Optional[int] = ..., error_code_source: _Optional[str] = ..., query_string: _Optional[str] = ...) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ("relay", "include_inactive", "delay")
    RELAY_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_INACTIVE_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    relay: _containers.RepeatedScalarFieldContainer[int]
    include_inactive: bool
    delay: int
    def __init__(self, relay: _Optional[_Iterable[int]] = ..., include_inactive: _Optional[bool] = ..., delay: _Optional[int] = ...) -> None: ...

class StatsResponse(_message.Message):
    __slots__ = ("status", "relay")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OK: _ClassVar[StatsResponse.Status]
        EBADR: _ClassVar[StatsResponse.Status]
        E2BIG: _ClassVar[StatsResponse.Status]
        ENOMEM: _ClassVar[StatsResponse.Status]
    OK: StatsResponse.Status
    EBADR: StatsResponse.Status
    E2BIG: StatsResponse.Status
    ENOMEM: StatsResponse.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RELAY_FIELD_NUMBER: _ClassVar[int]
    status: StatsResponse.Status
    relay: _containers.RepeatedCompositeFieldContainer[RelayState]
    def __init__(self, status: _Optional[_Union[StatsResponse.Status, str]] = ..., relay: _Optional[_Iterable[_Union[RelayState, _Mapping]]] = ...) -> None: ...

class RelayState(_message.Message):
    __slots__ = ("id", "active", "ident", "cpu", "vhost", "vf", "vf_to_vm", "vm_to_vf", "socket_id")
    class Cpu(_message.Message):
        __slots__ = ("vf_to_vm", "vm_to_vf")
        VF_TO_VM_FIELD_NUMBER: _ClassVar[int]
        VM_TO_VF_FIELD_NUMBER: _ClassVar[int]
        vf_to_vm: int
        vm_to_vf: int
        def __init__(self, vf_to_vm: _Optional[int] = ..., vm_to_vf: _Optional[int] = ...) -> None: ...
    class Vhost(_message.Message):
        __slots__ = ("vhost_socket_name",)
        VHOST_SOCKET_NAME_FIELD_NUMBER: _ClassVar[int]
        vhost_socket_name: str
        def __init__(self, vhost_socket_name: _Optional[str] = ...) -> None: ...
    class Vf(_message.Message):
        __slots__ = ("pci_addr_str",)
        PCI_ADDR_STR_FIELD_NUMBER: _ClassVar[int]
        pci_addr_str: str
        def __init__(self, pci_addr_str: _Optional[str] = ...) -> None: ...
    class VfToVm(_message.Message):
        __slots__ = ("active", "internal_state", "pkts_rx_from_vf", "bytes_rx_from_vf", "pkts_tx_to_vm", "bytes_tx_to_vm", "pkts_dropped_vm_queue_full", "bytes_dropped_vm_queue_full", "pkts_dropped_vm_not_connected", "bytes_dropped_vm_not_connected", "pkt_rate_rx_from_vf", "byte_rate_rx_from_vf", "pkt_rate_tx_to_vm", "byte_rate_tx_to_vm")
        ACTIVE_FIELD_NUMBER: _ClassVar[int]
        INTERNAL_STATE_FIELD_NUMBER: _ClassVar[int]
        PKTS_RX_FROM_VF_FIELD_NUMBER: _ClassVar[int]
        BYTES_RX_FROM_VF_FIELD_NUMBER: _ClassVar[int]
        PKTS_TX_TO_VM_FIELD_NUMBER: _ClassVar[int]
        BYTES_TX_TO_VM_FIELD_NUMBER: _ClassVar[int]
        PKTS_DROPPED_VM_QUEUE_FULL_FIELD_NUMBER: _ClassVar[int]
        BYTES_DROPPED_VM_QUEUE_FULL_FIELD_NUMBER: _ClassVar[int]
        PKTS_DROPPED_VM_NOT_CONNECTED_FIELD_NUMBER: _ClassVar[int]
        BYTES_DROPPED_VM_NOT_CONNECTED_FIELD_NUMBER: _ClassVar[int]
        PKT_RATE_RX_FROM_VF_FIELD_NUMBER: _ClassVar[int]
        BYTE_RATE_RX_FROM_VF_FIELD_NUMBER: _ClassVar[int]
        PKT_RATE_TX_TO_VM_FIELD_NUMBER: _ClassVar[int]
        BYTE_RATE_TX_TO_VM_FIELD_NUMBER: _ClassVar[int]
        active: bool
        internal_state: str
        pkts_rx_from_vf: int
        bytes_rx_from_vf: int
        pkts_tx_to_vm: int
        bytes_tx_to_vm: int
        pkts_dropped_vm_queue_full: int
        bytes_dropped_vm_queue_full: int
        pkts_dropped_vm_not_connected: int
        bytes_dropped_vm_not_connected: int
        pkt_rate_rx_from_vf: float
        byte_rate_rx_from_vf: float
        pkt_rate_tx_to_vm: float
        byte_rate_tx_to_vm: float
        def __init__(self, active: _Optional[bool] = ..., internal_state: _Optional[str] = ..., pkts_rx_from_vf: _Optional[int] = ..., bytes_rx_from_vf: _Optional[int] = ..., pkts_tx_to_vm: _Optional[int] = ..., bytes_tx_to_vm: _Optional[int] = ..., pkts_dropped_vm_queue_full: _Optional[int] = ..., bytes_dropped_vm_queue_full: _Optional[int] = ..., pkts_dropped_vm_not_connected: _Optional[int] = ..., bytes_dropped_vm_not_connected: _Optional[int] = ..., pkt_rate_rx_from_vf: _Optional[float] = ..., byte_rate_rx_from_vf: _Optional[float] = ..., pkt_rate_tx_to_vm: _Optional[float] = ..., byte_rate_tx_to_vm: _Optional[float] = ...) -> None: ...
    class VmToVf(_message.Message):
        __slots__ = ("active", "internal_state", "pkts_rx_from_vm", "bytes_rx_from_vm", "pkts_tx_to_vf", "bytes_tx_to_vf", "pkts_dropped_vf_queue_full", "bytes_dropped_vf_queue_full", "pkts_dropped_vf_not_connected", "bytes_dropped_vf_not_connected", "pkt_rate_rx_from_vm", "byte_rate_rx_from_vm", "pkt_rate_tx_to_vf", "byte_rate_tx_to_vf")
        ACTIVE_FIELD_NUMBER: _ClassVar[int]
        INTERNAL_STATE_FIELD_NUMBER: _ClassVar[int]
        PKTS_RX_FROM_VM_FIELD_NUMBER: _ClassVar[int]
        BYTES_RX_FROM_VM_FIELD_NUMBER: _ClassVar[int]
        PKTS_TX_TO_VF_FIELD_NUMBER: _ClassVar[int]
        BYTES_TX_TO_VF_FIELD_NUMBER: _ClassVar[int]
        PKTS_DROPPED_VF_QUEUE_FULL_FIELD_NUMBER: _ClassVar[int]
        BYTES_DROPPED_VF_QUEUE_FULL_FIELD_NUMBER: _ClassVar[int]
        PKTS_DROPPED_VF_NOT_CONNECTED_FIELD_NUMBER: _ClassVar[int]
        BYTES_DROPPED_VF_NOT_CONNECTED_FIELD_NUMBER: _ClassVar[int]
        PKT_RATE_RX_FROM_VM_FIELD_NUMBER: _ClassVar[int]
        BYTE_RATE_RX_FROM_VM_FIELD_NUMBER: _ClassVar[int]
        PKT_RATE_TX_TO_VF_FIELD_NUMBER: _ClassVar[int]
        BYTE_RATE_TX_TO_VF_FIELD_NUMBER: _ClassVar[int]
        active: bool
        internal_state: str
        pkts_rx_from_vm: int
        bytes_rx_from_vm: int
        pkts_tx_to_vf: int
        bytes_tx_to_vf: int
        pkts_dropped_vf_queue_full: int
        bytes_dropped_vf_queue_full: int
        pkts_dropped_vf_not_connected: int
        bytes_dropped_vf_not_connected: int
        pkt_rate_rx_from_vm: float
        byte_rate_rx_from_vm: float
        pkt_rate_tx_to_vf: float
        byte_rate_tx_to_vf: float
        def __init__(self, active: _Optional[bool] = ..., internal_state: _Optional[str] = ..., pkts_rx_from_vm: _Optional[int] = ..., bytes_rx_from_vm: _Optional[int] = ..., pkts_tx_to_vf: _Optional[int] = ..., bytes_tx_to_vf: _Optional[int] = ..., pkts_dropped_vf_queue_full: _Optional[int] = ..., bytes_dropped_vf_queue_full: _Optional[int] = ..., pkts_dropped_vf_not_connected: _Optional[int] = ..., bytes_dropped_vf_not_connected: _Optional[int] = ..., pkt_rate_rx_from_vm: _Optional[float] = ..., byte_rate_rx_from_vm: _Optional[float] = ..., pkt_rate_tx_to_vf: _Optional[float] = ..., byte_rate_tx_to_vf: _Optional[float] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    IDENT_FIELD_NUMBER: _ClassVar[int]
    CPU_FIELD_NUMBER: _ClassVar[int]
    VHOST_FIELD_NUMBER: _ClassVar[int]
    VF_FIELD_NUMBER: _ClassVar[int]
    VF_TO_VM_FIELD_NUMBER: _ClassVar[int]
    VM_TO_VF_FIELD_NUMBER: _ClassVar[int]
    SOCKET_ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    active: bool
    ident: str
    cpu: RelayState.Cpu
    vhost: RelayState.Vhost
    vf: RelayState.Vf
    vf_to_vm: RelayState.VfToVm
    vm_to_vf: RelayState.VmToVf
    socket_id: int
    def __init__(self, id: _Optional[int] = ..., active: _Optional[bool] = ..., ident: _Optional[str] = ..., cpu: _Optional[_Union[RelayState.Cpu, _Mapping]] = ..., vhost: _Optional[_Union[RelayState.Vhost, _Mapping]] = ..., vf: _Optional[_Union[RelayState.Vf, _Mapping]] = ..., vf_to_vm: _Optional[_Union[RelayState.VfToVm, _Mapping]] = ..., vm_to_vf: _Optional[_Union[RelayState.VmToVf, _Mapping]] = ..., socket_id: _Optional[int] = ...) -> None: ...

class ConfigRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ConfigResponse(_message.Message):
    __slots__ = ("status", "relay_cpu_map")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OK: _ClassVar[ConfigResponse.Status]
        EBADR: _ClassVar[ConfigResponse.Status]
    OK: ConfigResponse.Status
    EBADR: ConfigResponse.Status
    class RelayCPU(_message.Message):
        __slots__ = ("relay_number", "vf2virtio_cpu", "virtio2vf_cpu")
        RELAY_NUMBER_FIELD_NUMBER: _ClassVar[int]
        VF2VIRTIO_CPU_FIELD_NUMBER: _ClassVar[int]
        VIRTIO2VF_CPU_FIELD_NUMBER: _ClassVar[int]
        relay_number: int
        vf2virtio_cpu: int
        virtio2vf_cpu: int
        def __init__(self, relay_number: _Optional[int] = ..., vf2virtio_cpu: _Optional[int] = ..., virtio2vf_cpu: _Optional[int] = ...) -> None: ...
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RELAY_CPU_MAP_FIELD_NUMBER: _ClassVar[int]
    status: ConfigResponse.Status
    relay_cpu_map: _containers.RepeatedCompositeFieldContainer[ConfigResponse.RelayCPU]
    def __init__(self, status: _Optional[_Union[ConfigResponse.Status, str]] = ..., relay_cpu_map: _Optional[_Iterable[_Union[ConfigResponse.RelayCPU, _Mapping]]] = ...) -> None: ...

class CoreSchedRequest(_message.Message):
    __slots__ = ("op", "relay_cpu_map")
    class Op(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UPDATE: _ClassVar[CoreSchedRequest.Op]
        GET_EAL_CORES: _ClassVar[CoreSchedRequest.Op]
    UPDATE: CoreSchedRequest.Op
    GET_EAL_CORES: CoreSchedRequest.Op
    class RelayCPU(_message.Message):
        __slots__ = ("relay_number", "vf2virtio_cpu", "virtio2vf_cpu")
        RELAY_NUMBER_FIELD_NUMBER: _ClassVar[int]
        VF2VIRTIO_CPU_FIELD_NUMBER: _ClassVar[int]
        VIRTIO2VF_CPU_FIELD_NUMBER: _ClassVar[int]
        relay_number: int
        vf2virtio_cpu: int
        virtio2vf_cpu: int
        def __init__(self, relay_number: _Optional[int] = ..., vf2virtio_cpu: _Optional[int] = ..., virtio2vf_cpu: _Optional[int] = ...) -> None: ...
    OP_FIELD_NUMBER: _ClassVar[int]
    RELAY_CPU_MAP_FIELD_NUMBER: _ClassVar[int]
    op: CoreSchedRequest.Op
    relay_cpu_map: _containers.RepeatedCompositeFieldContainer[CoreSchedRequest.RelayCPU]
    def __init__(self, op: _Optional[_Union[CoreSchedRequest.Op, str]] = ..., relay_cpu_map: _Optional[_Iterable[_Union[CoreSchedRequest.RelayCPU, _Mapping]]] = ...) -> None: ...

class CoreSchedResponse(_message.Message):
    __slots__ = ("status", "error_code", "error_code_source", "eal_cores")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ERROR: _ClassVar[CoreSchedResponse.Status]
        OK: _ClassVar[CoreSchedResponse.Status]
    ERROR: CoreSchedResponse.Status
    OK: CoreSchedResponse.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    EAL_CORES_FIELD_NUMBER: _ClassVar[int]
    status: CoreSchedResponse.Status
    error_code: int
    error_code_source: str
    eal_cores: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, status: _Optional[_Union[CoreSchedResponse.Status, str]] = ..., error_code: _Optional[int] = ..., error_code_source: _Optional[str] = ..., eal_cores: _Optional[_Iterable[int]] = ...) -> None: ...
