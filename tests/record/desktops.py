"""Remote desktops and shells: rfb (VNC), rdp, telnet."""

from record import recording
from stage import certificate

RDP = {"xfreerdp": "freerdp2-x11", "Xtigervnc": "tigervnc-standalone-server"}


def ask_vnc(s, display=1, times=3):
    s.ask("sh", "-c", "printf 'sesame\\n' | tigervncpasswd -f > password")
    for n in range(times):
        s.ask("vncsnapshot", "-quiet", "-passwd", "password", f"{s.server}:{display}", f"shot{n}.jpg",
              status=(0, 124), seconds=2)  # it waits for ever on a server that sends an empty rectangle


@recording("rfb", "tigervnc", {"Xtigervnc": "tigervnc-standalone-server", "vncsnapshot": "vncsnapshot",
                               "tigervncpasswd": "tigervnc-tools"})
def tigervnc(s):
    s.prepare("sh", "-c", "printf 'sesame\\n' | tigervncpasswd -f > password")
    s.serve("Xtigervnc", ":1", "-nolock", "-rfbport", 5901, "-rfbauth", "password", "-SecurityTypes", "VncAuth,TLSVnc",
            "-geometry", "320x200", "-depth", 24, tcp=[5901])
    ask_vnc(s)
    s.expect("tcp", 5901, "rfb")


@recording("rfb", "x11vnc", {"x11vnc": "x11vnc", "Xtigervnc": "tigervnc-standalone-server",
                             "vncsnapshot": "vncsnapshot", "tigervncpasswd": "tigervnc-tools"})
def x11vnc(s):
    s.serve("Xtigervnc", ":1", "-nolock", "-rfbport", 5999, "-localhost", "-SecurityTypes", "None", "-geometry", "320x200",
            "-depth", 24, tcp=[5999])
    s.serve("x11vnc", "-display", ":1", "-rfbport", 5900, "-passwd", "sesame", "-forever", "-shared", "-noipv6",
            "-listen", s.server, tcp=[5900])
    ask_vnc(s, display=0)
    s.expect("tcp", 5900, "rfb")


@recording("rfb", "opencanary", {"vncsnapshot": "vncsnapshot", "tigervncpasswd": "tigervnc-tools"}, ["opencanary"])
def vnc_canary(s):
    s.serve_canary("vnc", 5900)
    for n in range(3):
        s.ask("sh", "-c", f"printf 'guess{n}\\n' | tigervncpasswd -f > password")
        s.ask("vncsnapshot", "-quiet", "-passwd", "password", f"{s.server}:0", "shot.jpg", status=())
    s.expect("tcp", 5900, "rfb")


def ask_rdp(s, *security):
    """Logins with each security layer; a client needs a display, so it has one that shows nothing."""
    s.serve("Xtigervnc", ":2", "-nolock", "-rfbport", 5999, "-localhost", "-SecurityTypes", "None", "-geometry", "640x480",
            "-depth", 24, tcp=[5999], host=s.asking)
    for layer in security:
        s.ask("xfreerdp", f"/v:{s.server}", "/u:alice", "/p:guess", "/cert:ignore", "/log-level:ERROR", f"/sec:{layer}",
              "/timeout:3000", env={"DISPLAY": ":2"}, status=(), seconds=4)


@recording("rdp", "xrdp", RDP | {"xrdp": "xrdp"})
def xrdp(s):
    key, cert = certificate(s)
    (s.folder / "xrdp.ini").write_text(
        f"[Globals]\nport=tcp://{s.server}:3389\nfork=true\nsecurity_layer=negotiate\ncrypt_level=high\n"
        f"certificate={cert}\nkey_file={key}\nssl_protocols=TLSv1.2, TLSv1.3\nautorun=vnc\nmax_bpp=16\n"
        "[Logging]\nLogFile=/run/xrdp.log\nLogLevel=INFO\n"
        "[vnc]\nname=vnc\nlib=libvnc.so\nusername=na\npassword=ask\nip=127.0.0.1\nport=5901\n")
    s.serve("xrdp", "--nodaemon", "-c", s.folder / "xrdp.ini", tcp=[3389])
    ask_rdp(s, "tls", "rdp", "nla")
    s.expect("tcp", 3389, "rdp")


@recording("rdp", "freerdp-shadow", RDP | {"freerdp-shadow-cli": "freerdp2-shadow-x11"})
def freerdp_shadow(s):
    s.serve("Xtigervnc", ":1", "-nolock", "-rfbport", 5998, "-localhost", "-SecurityTypes", "None", "-geometry", "320x200",
            "-depth", 24, tcp=[5998])
    s.serve("freerdp-shadow-cli", f"/bind-address:{s.server}", "/port:3389", "-auth", env={"DISPLAY": ":1"}, tcp=[3389])
    ask_rdp(s, "tls", "rdp", "nla")
    s.expect("tcp", 3389, "rdp")


@recording("rdp", "opencanary", RDP, ["opencanary"])
def rdp_canary(s):
    s.serve_canary("rdp", 3389)
    ask_rdp(s, "tls", "rdp", "nla")
    s.expect("tcp", 3389, "rdp")


def ask_telnet(s):
    for name in ("alice", "root", "admin"):
        # Typed, not poured: a login prompt discards what came before it.
        s.ask("sh", "-c", f"(sleep 0.7; printf '{name}\\r\\n'; sleep 0.7; printf 'guess\\r\\n'; sleep 0.7)"
              f" | inetutils-telnet {s.server}", status=())


@recording("telnet", "inetutils", {"telnetd": "inetutils-telnetd", "inetutils-telnet": "inetutils-telnet",
                                   "socat": "socat"})
def inetutils(s):
    s.serve("socat", f"TCP-LISTEN:23,bind={s.server},fork,reuseaddr", "EXEC:telnetd -h,nofork", tcp=[23])
    ask_telnet(s)
    s.expect("tcp", 23, "telnet")


@recording("telnet", "opencanary", {"inetutils-telnet": "inetutils-telnet"}, ["opencanary"])
def telnet_canary(s):
    s.serve_canary("telnet", 23, honeycreds=[], banner="router")
    ask_telnet(s)
    s.expect("tcp", 23, "telnet")
