"""What networks run on: snmp, portmap and nfs (onc-rpc), sip, tftp."""

import re

from record import recording
from stage import call

SNMPGET = {"snmpd": "snmpd", "snmpget": "snmp"}


def ask_snmp(s, community="public"):
    for version in ("1", "2c"):
        s.ask("snmpget", "-v", version, "-c", community, "-t", 2, s.server, "1.3.6.1.2.1.1.1.0")
    s.ask("snmpbulkwalk", "-v2c", "-c", community, "-t", 2, s.server, "1.3.6.1.2.1.1", status=())
    s.ask("snmpget", "-v3", "-l", "authPriv", "-u", "walker", "-a", "SHA", "-A", "sesame-sesame", "-x", "AES",
          "-X", "sesame-sesame", "-t", 2, s.server, "1.3.6.1.2.1.1.3.0")


@recording("snmp", "snmpd", SNMPGET)
def snmpd(s):
    (s.folder / "snmpd.conf").write_text(
        "rocommunity public\ncreateUser walker SHA sesame-sesame AES sesame-sesame\nrouser walker\n")
    s.serve("snmpd", "-f", "-Lo", "-C", "-c", s.folder / "snmpd.conf", f"udp:{s.server}:161", udp=[161],
            env={"SNMP_PERSISTENT_DIR": str(s.folder / "state")})
    ask_snmp(s)
    s.expect("udp", 161, "snmp")


@recording("snmp", "pysnmp", {"snmpget": "snmp"}, ["pysnmp"])
def pysnmp(s):
    s.serve_python(
        "from pysnmp.entity import engine, config\n"
        "from pysnmp.entity.rfc3413 import cmdrsp, context\n"
        "from pysnmp.carrier.asyncio.dgram import udp\n"
        "e = engine.SnmpEngine()\n"
        "config.add_transport(e, udp.DOMAIN_NAME, udp.UdpTransport().open_server_mode(('0.0.0.0', 161)))\n"
        "config.add_v1_system(e, 'area', 'public')\n"
        "config.add_v3_user(e, 'walker', config.USM_AUTH_HMAC96_SHA, 'sesame-sesame',"
        " config.USM_PRIV_CFB128_AES, 'sesame-sesame')\n"
        "for model, name, level in ((1, 'area', 'noAuthNoPriv'), (2, 'area', 'noAuthNoPriv'), (3, 'walker', 'authPriv')):\n"
        "    config.add_vacm_user(e, model, name, level, (1, 3, 6), (1, 3, 6))\n"
        "c = context.SnmpContext(e)\n"
        "for r in (cmdrsp.GetCommandResponder, cmdrsp.NextCommandResponder, cmdrsp.BulkCommandResponder): r(e, c)\n"
        "e.transport_dispatcher.job_started(1)\n"
        "e.transport_dispatcher.run_dispatcher()\n", udp=[161])
    ask_snmp(s)
    s.expect("udp", 161, "snmp")


@recording("portmap", "rpcbind", {"rpcbind": "rpcbind", "rpcinfo": "rpcbind"})
def rpcbind(s):
    s.serve("rpcbind", "-f", "-w", tcp=[111], udp=[111])
    s.ask("rpcinfo", "-p", s.server)
    s.ask("rpcinfo", "-s", s.server)
    for transport in ("tcp", "udp"):
        s.ask("rpcinfo", "-T", transport, s.server, "100000", "2")
    s.expect("tcp", 111, "portmap")
    s.expect("udp", 111, "portmap")


GANESHA = {"rpcbind": "rpcbind", "ganesha.nfsd": "nfs-ganesha", "nfs-ls": "libnfs-utils"}


def ganesha(s, version):
    s.serve("rpcbind", "-f", "-w", tcp=[111])
    (s.folder / "ganesha.conf").write_text(
        "NFS_CORE_PARAM { Protocols = 3, 4; Enable_NLM = false; Enable_RQUOTA = false; MNT_Port = 20048; }\n"
        "NFSV4 { Graceless = true; RecoveryBackend = fs; }\n"
        "EXPORT { Export_Id = 1; Path = /m; Pseudo = /m; Access_Type = RW; Squash = none; SecType = sys;\n"
        "  Transports = TCP, UDP; FSAL { Name = MEM; } }\n")
    s.serve("ganesha.nfsd", "-F", "-L", "STDERR", "-p", s.folder / "pid", "-f", s.folder / "ganesha.conf",
            tcp=[2049, 20048])
    for _ in range(3):
        s.ask("nfs-ls", f"nfs://{s.server}/m?version={version}", status=(0,) if version == 3 else ())
    s.expect("tcp", 2049, "nfs")


@recording("nfs", "ganesha-v3", GANESHA)
def ganesha_v3(s):
    ganesha(s, 3)
    s.expect("tcp", 111, "portmap")
    s.expect("tcp", 20048, "rpc")


@recording("nfs", "ganesha-v4", GANESHA)
def ganesha_v4(s):
    ganesha(s, 4)


@recording("sip", "sipp", {"sipp": "sip-tester"})
def sipp(s):
    s.serve("sipp", "-sn", "uas", "-i", s.server, "-p", 5060, "-nostdin", udp=[5060])
    s.serve("sipp", "-sn", "uas", "-i", s.server, "-p", 5062, "-t", "t1", "-nostdin", tcp=[5062])
    for port, transport in ((5060, "u1"), (5062, "t1")):
        s.ask("sipp", "-sn", "uac", "-m", 3, "-r", 10, "-d", 100, "-t", transport, "-i", s.client, "-nostdin",
              f"{s.server}:{port}")
    s.expect("udp", 5060, "sip")
    s.expect("tcp", 5062, "sip")


@recording("sip", "kamailio", {"kamailio": "kamailio", "sipsak": "sipsak"})
def kamailio(s):
    version = re.search(r"kamailio (\d+\.\d+\.\d+)", call("kamailio", "-v"))[1]
    (s.folder / "kamailio.cfg").write_text(
        f"fork=no\nlisten=udp:{s.server}:5060\nlisten=tcp:{s.server}:5060\n"
        'loadmodule "sl.so"\n'
        'request_route { if (method == "OPTIONS") { sl_send_reply("200", "OK"); exit; }\n'
        ' sl_send_reply("404", "Not Found"); }\n')
    s.serve("kamailio", "-DD", "-E", "-f", s.folder / "kamailio.cfg", udp=[5060], tcp=[5060])
    for user in ("alice", "bob", "carol"):
        for transport in ("udp", "tcp"):
            s.ask("sipsak", "-E", transport, "-s", f"sip:{user}@{s.server}")
    s.ask("sipsak", "-U", "-s", f"sip:dave@{s.server}", status=())
    for transport in ("udp", "tcp"):
        s.expect(transport, 5060, "sip", "kamailio", version)


def fetch(s):
    s.ask("curl", "-sS", "-m", 5, f"tftp://{s.server}/boot.img", "-o", "got")
    s.ask("busybox", "tftp", "-g", "-r", "boot.img", "-l", "again", s.server)
    s.ask("curl", "-sS", "-m", 5, f"tftp://{s.server}/absent", "-o", "none", status=(68, 69, 71))
    s.expect("udp", 69, "tftp")


TFTP = {"curl": "curl", "busybox": "busybox"}


@recording("tftp", "tftpd-hpa", TFTP | {"in.tftpd": "tftpd-hpa"})
def tftpd(s):
    (s.folder / "boot").mkdir()
    (s.folder / "boot/boot.img").write_bytes(bytes(range(256)) * 20)
    s.serve("in.tftpd", "-L", "-s", "-u", "nobody", "-a", f"{s.server}:69", s.folder / "boot", udp=[69])
    fetch(s)


@recording("tftp", "dnsmasq", TFTP | {"dnsmasq": "dnsmasq-base"})
def dnsmasq(s):
    (s.folder / "boot").mkdir()
    (s.folder / "boot/boot.img").write_bytes(bytes(range(256)) * 20)
    s.serve("dnsmasq", "-k", "-C", "/dev/null", "-p", 0, "--enable-tftp", f"--tftp-root={s.folder}/boot", "-u", "nobody",
            "-g", "nogroup", udp=[69])
    fetch(s)
