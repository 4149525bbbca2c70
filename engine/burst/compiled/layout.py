"""The memory that Python, the workers and DPDK's vhost thread share: who writes which word, and where it lies.

All words are 64 bits. Each block starts on a cache line, and words with different writers lie on different lines.

- A **worker** block controls one lcore. `SEQUENCE` is odd while the worker is in a pass: whoever changes a word that
  workers read changes it first (a full barrier) and then waits until each worker is outside a pass or in a later one.
- A **table** is a count and that many entry addresses. It never changes once it is published.
- An **entry** is one direction of one relay. It is written by the worker that has it in its table, and by Python
  while no table has it. Mbufs that the receiver did not take wait in it.
- A **guest** block is the vhost thread's word on one socket, a **port** block is Python's on one DPDK port.
- The **callback context** is what vhost's callbacks find by the symbol `vio4wd_callback_context`.
"""

from __future__ import annotations

from typing import Final

from engine.burst.compiled import burst_size

BURST: Final = burst_size.burst
"""Packets a call."""

# Worker: written by Python
WORKER_STOP: Final = 0
WORKER_TABLE: Final = 8
WORKER_SLEEP_US: Final = 16
"""The longest sleep of an idle worker in microseconds; 0: never sleep."""
WORKER_SPIN_CYCLES: Final = 24
"""Idle for less than this, a worker only pauses."""
WORKER_CYCLES_PER_US: Final = 32
WORKER_DRAIN_POOL: Final = 40
"""Where packets are put that nobody will receive."""
WORKER_FP_OPS: Final = 48
"""Address of rte_eth_fp_ops."""
WORKER_CPUSET: Final = 64
"""cpu_set_t of 128 bytes: the CPUs that the worker binds itself to."""
# Worker: written by the worker
WORKER_SEQUENCE: Final = 192
WORKER_SLEPT_CYCLES: Final = 256
WORKER_PASSES: Final = 264
WORKER_SIZE: Final = 320

# Table
TABLE_COUNT: Final = 0
TABLE_ENTRIES: Final = 8

# Entry: written by Python before the entry is in a table
ENTRY_DIRECTION: Final = 0
ENTRY_PORT: Final = 8
"""Address of the port block."""
ENTRY_GUEST: Final = 16
"""Address of the guest block."""
ENTRY_CHECKSUM: Final = 24
"""Who finishes checksums that a guest left open: NONE, SOFTWARE or HARDWARE."""
NONE: Final = 0
SOFTWARE: Final = 1
HARDWARE: Final = 2
ENTRY_LCORE: Final = 32
"""The lcore of the worker that has the entry: whose part of a pool's cache it may use."""
ENTRY_SEGMENTS: Final = 40
"""Who cuts long TCP frames, in the same words; NONE where guests may not hand over any."""
ENTRY_MTU: Final = 48
"""The longest packet that the VF is meant to take, without the Ethernet header."""
# Entry: written by Python at any time
ENTRY_CAPTURE: Final = 56
"""Address of the ring into which a copy of each received packet goes, or 0."""
# Entry: written by its worker
ENTRY_WAITING: Final = 64
"""How many mbufs wait in ENTRY_MBUFS."""
ENTRY_NEXT_QUEUE: Final = 72
"""Counts turns: which of several queues is served first."""
ENTRY_MASK: Final = 80
"""The guest's queues that ENTRY_ACTIVE lists, and of which no kicks are asked for."""
ENTRY_ACTIVE_COUNT: Final = 88
ENTRY_STAGED: Final = 96
"""How many mbufs wait in all stages together."""
ENTRY_NEXT: Final = 104
"""Address of the next busy entry of a round, or 0."""
ENTRY_SERVED: Final = 112
"""When the entry's port was last served (TSC)."""
ENTRY_ROOM: Final = 120
"""How many packets the guest's ring had room for when it was last asked, less what it took since."""
ENTRY_COUNTERS: Final = 128
ENTRY_MBUFS: Final = 256
# Entry, for guests with several queues: a stage of mbufs for each; VM to VF the first holds frames that are to be cut
MAX_QUEUES: Final = 32
"""Queue pairs of a guest."""
FIRST_QUEUE: Final = 1
"""The mask of a guest that has enabled its first pair alone; one that says nothing (0) is served like it."""
STAGE: Final = 2 * BURST
"""Mbufs that a stage holds: what a slow queue has not taken, and one more burst."""
ENTRY_ACTIVE: Final = ENTRY_MBUFS + 8 * BURST
"""The numbers of the enabled queues, a word each."""
ENTRY_STAGE_COUNT: Final = ENTRY_ACTIVE + 8 * MAX_QUEUES
"""How many mbufs wait in each queue's stage, a word each."""
ENTRY_STAGES: Final = ENTRY_STAGE_COUNT + 8 * MAX_QUEUES
ENTRY_SIZE: Final = ENTRY_STAGES + 8 * STAGE * MAX_QUEUES

VF_TO_VM: Final = 0
VM_TO_VF: Final = 1

COUNTERS: Final = (
    "rx_packets",
    "rx_bytes",
    "tx_packets",
    "tx_bytes",
    "guest_absent_packets",
    "guest_absent_bytes",
    "guest_full_packets",
    "guest_full_bytes",
    "vf_absent_packets",
    "vf_absent_bytes",
    "vf_full_packets",
    "vf_full_bytes",
    "vf_unfit_packets",
    "vf_unfit_bytes",
    "busy_cycles",
)
"""In the order in which they lie from ENTRY_COUNTERS; never reset."""
RX: Final = ENTRY_COUNTERS
TX: Final = ENTRY_COUNTERS + 16
GUEST_ABSENT: Final = ENTRY_COUNTERS + 32
GUEST_FULL: Final = ENTRY_COUNTERS + 48
VF_ABSENT: Final = ENTRY_COUNTERS + 64
VF_FULL: Final = ENTRY_COUNTERS + 80
VF_UNFIT: Final = ENTRY_COUNTERS + 96
"""Each of these is a count of packets followed by one of bytes."""
BUSY_CYCLES: Final = ENTRY_COUNTERS + 112
ENTRY_CUT: Final = ENTRY_COUNTERS + 120
"""How much payload of the long frame that is first in the first stage has left in segments, in bytes."""

# Ring of captured packets: written by Python before an entry points at it
RING_BYTES: Final = 0
"""How many bytes of records it holds; a power of two."""
RING_SNAPLEN: Final = 8
"""So many bytes of each packet are copied."""
# Ring: written by the entry's worker
RING_HEAD: Final = 64
"""How many bytes of records were ever written."""
RING_MISSED: Final = 72
"""Packets for which there was no room."""
# Ring: written by Python
RING_TAIL: Final = 128
"""How many bytes of records were ever read."""
RING_RECORDS: Final = 192

# Record: a header, and the packet's bytes up to a multiple of 8
RECORD_BYTES: Final = 0
"""Length of the whole record; below 0: so many bytes are empty, since a record does not go round the ring's end."""
RECORD_TSC: Final = 8
RECORD_LENGTH: Final = 16
"""The packet's length on the wire."""
RECORD_CAPTURED: Final = 24
"""How many bytes of it follow."""
RECORD_HEADER: Final = 32

# Guest: written by the vhost thread
GUEST_VID: Final = 0
"""The device's id plus 1, or 0 for no guest; below 0: workers leave it alone while its memory changes."""
GUEST_FEATURES: Final = 8
GUEST_CONNECTS: Final = 16
GUEST_RX_QUEUES: Final = 24
"""Bit i: the guest has enabled its receive queue i."""
GUEST_TX_QUEUES: Final = 32
GUEST_PEER: Final = 40
"""The device's id plus 1 while somebody is at the other end of the socket, his driver ready or not; else 0."""
GUEST_RINGS: Final = 48
"""Bit i: the guest's ring i (queue pairs times two) has got a size since it was last stopped."""
GUEST_RING: Final = 56
"""Where the first queue of the guest that connected last lies in our memory; it may be gone by now."""
# Guest: written by Python before the socket is opened
GUEST_PATH: Final = 64
"""The socket's path, ended by a zero byte."""
GUEST_PATH_BYTES: Final = 128
# Guest: written by the vhost thread
GUEST_FD: Final = 192
"""The peer's connection, while there is a peer; -1 if it was not found."""
GUEST_REFUSED: Final = 200
"""The last request for which somebody was cut off, or one of the reasons below 0."""
MEMORY_SHORT: Final = -1
DESCRIPTORS_LOST: Final = -2
DESCRIPTORS_SHORT: Final = -3
GUEST_ANSWER: Final = 208
"""Whether the memory table that is being acted on is to be answered."""
GUEST_LOST: Final = 216
"""Descriptors that rte_vhost has forgotten after they came on this socket; only ever grows."""
GUEST_REGIONS: Final = 224
"""How many regions of memory are in force."""
GUEST_STALE: Final = 232
"""How many were, while rte_vhost replaces them."""
# Guest: written by Python
GUEST_MOST_MEMORY: Final = 256
"""The largest memory that a guest may have, in bytes."""
GUEST_MOST_LOST: Final = 264
"""Nobody is let in when so many descriptors are lost."""
# Guest: written by the vhost thread
GUEST_REGION: Final = 320
"""Where each region lies in our memory, and how long the mapping is: two words each."""
MAX_REGIONS: Final = 8
GUEST_SIZE: Final = GUEST_REGION + 16 * MAX_REGIONS

# Port: written by Python while no table has its entries
PORT_ID: Final = 0
"""The port id plus 1, or 0 for no VF or a link that is down."""
PORT_POOL: Final = 8
PORT_QUEUES: Final = 16
"""Receive queues."""
PORT_SERVICE: Final = 24
"""Cycles after which a port must be served also when nothing moves; 0: it need not."""
PORT_SIZE: Final = 64

# Callback context: written by Python
CONTEXT_WORKERS: Final = 0
"""How many worker addresses follow from CONTEXT_WORKER; only ever grows."""
CONTEXT_GUESTS: Final = 8
"""Address of the array of guest blocks."""
CONTEXT_GUEST_COUNT: Final = 16
CONTEXT_EVENT_FD: Final = 24
CONTEXT_MESSAGE_OPS: Final = 32
"""Addresses of what looks at a message before and after rte_vhost acts on it: struct rte_vhost_user_extern_ops."""
CONTEXT_MOST_FDS: Final = 48
"""Nobody is let in when all descriptors below this number are taken."""
CONTEXT_WORKER: Final = 64
CONTEXT_MAX_WORKERS: Final = 128
# Callback context: the ring of events. Producers reserve at the head, Python takes from the tail.
EVENTS_HEAD: Final = CONTEXT_WORKER + 8 * CONTEXT_MAX_WORKERS
EVENTS_LOST: Final = EVENTS_HEAD + 8
EVENTS_TAIL: Final = EVENTS_HEAD + 64
EVENTS: Final = EVENTS_TAIL + 64
EVENT_SLOTS: Final = 1024
EVENT_SIZE: Final = 16
"""A word that is the event's number plus 1 once the other is written, and `kind << 32 | guest`."""
CONTEXT_SIZE: Final = EVENTS + EVENT_SLOTS * EVENT_SIZE

EVENT_CONNECTED: Final = 1
EVENT_DISCONNECTED: Final = 2
EVENT_FEATURES: Final = 3
EVENT_REFUSED: Final = 4
CONTEXT_SYMBOL: Final = "vio4wd_callback_context"
