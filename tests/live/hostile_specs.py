"""Specs in which somebody means harm: made of the schema, with a hostile text wherever a text may stand."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from schema.rules.check import schema as published

OWNED = "touch /owned"
"""A file of that name, and a command was run."""

WORDS = [
    f"exec({OWNED})",
    f"$({OWNED})",
    f"`{OWNED}`",
    f";{OWNED};",
    f"|{OWNED}",
    f"& {OWNED} &",
    f"a\n{OWNED}\n",
    "a\0b",
    "%n%n%n%s%s",
    "%(x)s {0.__class__} ${HOME}",
    "../../../etc/passwd",
    "-oProxyCommand=touch /owned",
    "--upload-pack=touch /owned",
    "\u202egnp.exe",
    "\u2028line",
    "\ud83d\ude00",
    "\u001b]0;owned\u0007\u001b[2J",
    "\r\nX: y",
    "x" * 5000,
    "",
    " ",
    ".",
    "..",
    "~root",
    "null",
    "0777",
    "' OR 1=1; --",
]
PATHS = [
    "/etc/passwd",
    "/etc/cron.d/owned",
    "/etc/owned/socket",
    "/etc",
    "/",
    "//",
    "/./etc/../etc/shadow",
    "/run/../etc/hostname",
    "/run/./vio4wd/../../etc/fstab",
    "/run/precious",
    "/tmp/precious",
    "/run/foreign.sock",
    "/tmp/nobodys/owned.sock",
    "/tmp/nobodys",
    "/run/vio4wd/engine-0.sock",
    "/run/vio4wd/engine-0.events",
    "/run/vio4wd/watch.lock",
    "/run/vio4wd/sync",
    "/run/vio4wd/dpdk/x",
    "/var/run/vio4wd/engine-0.sock",
    "/var/lib/vio4wd/vio4wd.db",
    "/var/lib/vio4wd/engine-0.json",
    "/dev/null",
    "/dev/shm/owned",
    "/dev/vhost-net",
    "/proc/self/environ",
    "/proc/1/root/etc/owned",
    "/proc/self/fd/1",
    "/sys/kernel/uevent_helper",
    "/usr/bin/sh",
    "/usr/lib/systemd/system/owned.service",
    "/root/.ssh/authorized_keys",
    "/home/owned.sock",
    "/var/spool/cron/owned",
    "/run/a\nb",
    "/run/a\0b",
    "/run/\u202eb",
    "/run/é/ü",
    "/run/" + "d/" * 60 + "s",
    "/run/" + "n" * 300,
    "/run/%n%s%u",
    "/run/$(touch ${IFS}/owned)",
    "/run/`touch /owned`",
    "/run/;touch /owned",
    "/run/guests/one.sock",
    "/tmp/two/three/four.sock",
    "/run",
    "/tmp",
]
TIGHT = OWNED.replace(" ", "${IFS}")
"""Without the space that no VF may have."""
VFS = [
    f"net_failsafe0,exec({TIGHT})",
    f"net_failsafe1,exec({TIGHT}),dev(net_tap0)",
    f"net_failsafe2,exec({OWNED})",
    "net_failsafe0,fd(0)",
    "net_pcap0,tx_pcap=/etc/owned.pcap",
    "net_pcap0,rx_pcap=/etc/shadow,tx_pcap=/tmp/precious",
    "net_softnic0,firmware=/tmp/precious",
    "net_virtio_user0,path=/dev/vhost-net",
    "net_virtio_user0,path=/run/precious,server=1",
    "net_vhost0,iface=/etc/owned.sock",
    "net_memif0,role=server,socket-abstract=no,socket=/etc/owned.sock",
    "net_memif0,role=server,socket-abstract=no,socket=/run/precious",
    "net_memif0,role=server,socket-abstract=no,socket=/run/memif.sock",
    "net_memif0,role=client,socket=/run/foreign.sock,socket-abstract=no",
    "net_ring0,nodeaction=R:0:CREATE",
    "net_ring0,internal=0x4141414141414141",
    "net_null0,size=65535,copy=1",
    "net_null0,size=64,size=65535",
    "net_null0,no-rx",
    f"net_null0,exec({TIGHT})",
    f"net_null0,size=64,exec({TIGHT})",
    "net_null0,driver=net_failsafe",
    f"net_null0/class=eth,exec({TIGHT})",
    "net_null0,size=64/driver=net_failsafe",
    "net_tap0,iface=../../etc/owned",
    "net_tap0,iface=%n%s,mac=fixed",
    "net_tap0,iface=dtap%d",
    "net_tap0,remote=lo",
    "net_tap0,iface=lo",
    "net_tap5,iface=tap5",
    "net_af_packet0,iface=lo",
    "net_af_packet0,iface=lo,blocksz=2048,framesz=65536,framecnt=1",
    "net_af_packet0,iface=nothere",
    "net_af_packet0,iface=lo,framecnt=2000000000",
    "net_af_xdp0,iface=lo,xdp_prog=/tmp/precious",
    "net_bonding0,slave=net_failsafe0,mode=1",
    "net_vdev_netvsc0,iface=lo",
    "net_null_exec0",
    "net_" + "a" * 70 + "0",
    "net_null" + "9" * 50,
    "vdev:net_failsafe0",
    "eth_failsafe0",
    "0000:00:00.0",
    "0000:00:01.0,ddp_pkg_file=/tmp/precious",
    "0000:ff:1f.7",
    "net_null0,\u202e=1",
    "net_null0,a=\u0007",
]
RAW = [
    f"!!python/object/apply:os.system ['{OWNED}']",
    "!!python/object/new:subprocess.Popen [['touch', '/owned']]",
    "!exec touch",
    "&a [*a]",
    "*nobody",
    "{<<: {a: b}}",
    "? a",
    "|2\n   text",
    "!!binary AAAA",
    "0x7fffffffffffffffffffffff",
    ".inf",
]
MARK = "raw text "
"""Begins a text that stands in the document without quotes."""

HOSTILE = st.sampled_from([*WORDS, *PATHS, *VFS, *(MARK + each for each in RAW)]) | st.text(max_size=40)
NAMES = st.sampled_from(["lo", "veth0", *WORDS]) | st.text(max_size=20)
FILE_NAMES = st.sampled_from(
    ["a.yaml", "$(touch owned).yaml", "-n.yaml", "a\nb.yaml", "\u202eb.yaml", "%s%n.yaml", ".yaml"]
) | st.text("ab.-$`;|&%\n\u202e'\" ", min_size=1, max_size=20).map(lambda name: f"{name}.yaml")


def _resolved(part: dict[str, Any]) -> dict[str, Any]:
    name = part.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = published()["$defs"][name] if name else part
    return found


USUAL: dict[str, list[Any]] = {
    "VF": [f"net_null{number},size=64" for number in range(8)] + ["net_tap1,iface=v1", "net_ring0", "0000:05:08.1"],
    "Owner": ["root", None],
    "Group": ["root", None],
    "CPUs": [None],
    "MTU": [None, 1500, 9000],
    "Socket": [None, "/run/guests/one.sock", "/tmp/two.sock", "/run/three.sock"],
    "Mount": ["/run/huge", "/tmp/huge/a"],
    "Reserved pages": [0],
    "Endpoint": ["ipc:///run/vf/stats", "ipc:///tmp/vf/one", "ipc:///run/two"],
    "Guest sockets": [{}, {"directory": "/run/guests"}],
}
"""By title, where the schema's examples are no host's of the test's."""
BESIDE_THE_POINT = ("engine", "pins", "sources")
"""Keys that are drawn now and then only: what they have is mostly refused, and the rest with it."""


@st.composite
def _text(draw: st.DrawFn, part: dict[str, Any], hostile: int) -> Any:
    """What such a text is usually, or, so many times in 100, what somebody would write who means harm."""
    if draw(st.integers(0, 99)) < hostile:
        special = {"VF": VFS, "Endpoint": [f"ipc://{path}" for path in PATHS]}.get(part["title"], PATHS)
        return draw(st.sampled_from(special) | st.sampled_from(special) | HOSTILE)
    choices = part.get("enum") or ([part["const"]] if "const" in part else part["examples"])
    return draw(st.sampled_from(USUAL.get(part["title"], choices)))


def values(part: dict[str, Any], hostile: int) -> st.SearchStrategy[Any]:
    """What may stand where this part of the schema is asked for; of the texts, so many in 100 are meant to harm."""
    part = {**_resolved(part), **{key: value for key, value in part.items() if key == "title"}}
    kinds = part.get("type", "string")
    kind = kinds if isinstance(kinds, str) else kinds[0]
    if kind == "string" or "enum" in part:
        return _text(part, hostile)
    if kind == "object":
        return _mapping(part, hostile)
    if part["title"] in USUAL:
        return st.sampled_from(USUAL[part["title"]])
    if kind == "integer":
        return st.sampled_from(part["examples"]) | st.integers(part.get("minimum", 0), part.get("maximum", 9))
    if kind == "array":
        return st.lists(values(part["items"], hostile), min_size=part.get("minItems", 0), max_size=3)
    return st.booleans()


@st.composite
def _mapping(draw: st.DrawFn, part: dict[str, Any], hostile: int) -> dict[str, Any]:
    keys = {key: values(inner, hostile) for key, inner in part["properties"].items()}
    wanted = set(part.get("required", ()))
    if "oneOf" in part:
        choices = [choice["required"][0] for choice in part["oneOf"]]
        wanted.add(draw(st.sampled_from(choices)))
        keys = {key: value for key, value in keys.items() if key in wanted or key not in choices}
    wanted |= draw(st.sets(st.sampled_from(sorted(keys)), max_size=4))
    return {key: draw(keys[key]) for key in sorted(wanted)}


@st.composite
def documents(draw: st.DrawFn, engine: dict[str, Any] | None = None) -> str:
    """A spec as text: a host's own, with these settings of the engine, or another one beside it."""
    hostile = draw(st.sampled_from([3, 10, 10, 40]))
    whole = draw(_mapping(published(), hostile))
    for key in BESIDE_THE_POINT:
        if key == "engine" or draw(st.integers(0, 9)):
            whole.pop(key, None)
    if engine is not None:
        level, token = draw(st.sampled_from(["info", *WORDS])), draw(st.sampled_from([None, *WORDS]))
        whole["engine"] = {**engine, **({"log_level": level, "vfio_vf_token": token} if hostile == 40 else {})}
    relays = draw(st.lists(values({"$ref": "#/$defs/relay"}, hostile), min_size=1, max_size=3))
    for index, relay in enumerate(relays):
        relay["id"] = index if draw(st.integers(0, 9)) else relay.get("id")
    whole = {**whole, "apiVersion": "vio4wd/v1", "relays": relays}
    text = json.dumps(whole, ensure_ascii=draw(st.booleans()))
    for each in RAW:
        text = text.replace(json.dumps(MARK + each), each)
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
