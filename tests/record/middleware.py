"""What data centres run between their applications: brokers, coordination, block storage, source control, chat, HTTP/2."""

import re

from record import recording
from stage import call


def lines(s, port, *said, wait_s=0.6):
    """A client of few words: sends each text and reads what comes until it is silent."""
    s.ask_python("import socket, sys\n"
                 f"c = socket.create_connection((HOST, {port}), 3); c.settimeout({wait_s})\n"
                 "def hear():\n"
                 "    try:\n"
                 "        while c.recv(65536): pass\n"
                 "    except TimeoutError: pass\n"
                 "hear()\n"
                 "for text in sys.argv[1:]: c.sendall(text.encode()); hear()\n", *said)


def package(name):
    """The upstream version of an installed package: `3.10.8` of `1:3.10.8+ds-1.1`."""
    return re.split(r"[-+]", call("dpkg-query", "-W", "-f", "${Version}", name).split(":")[-1])[0]


@recording("mqtt", "mosquitto", {"mosquitto": "mosquitto", "mosquitto_pub": "mosquitto-clients"})
def mosquitto(s):
    (s.folder / "m.conf").write_text(f"listener 1883 {s.server}\nallow_anonymous true\n")
    s.serve("mosquitto", "-c", s.folder / "m.conf", tcp=[1883], user="nobody")
    for version in ("mqttv31", "mqttv311", "mqttv5"):
        s.ask("mosquitto_pub", "-h", s.server, "-V", version, "-t", "a/b", "-m", "hello", "-u", "joe", "-P", "sesame")
    s.expect("tcp", 1883, "mqtt")


@recording("amqp", "rabbitmq", {"rabbitmq-server": "rabbitmq-server", "amqp-publish": "amqp-tools"})
def rabbitmq(s):
    (s.folder / "rabbitmq.conf").write_text("loopback_users = none\n")
    s.serve("/usr/lib/rabbitmq/bin/rabbitmq-server", tcp=[5672], ready_s=40, env={
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",  # as many schedulers as cores make it slow to start
        "RABBITMQ_NODENAME": "ewt@localhost", "RABBITMQ_CONFIG_FILE": str(s.folder / "rabbitmq.conf"),
        "RABBITMQ_MNESIA_BASE": str(s.folder), "RABBITMQ_LOG_BASE": str(s.folder), "RABBITMQ_PLUGINS_DIR": ""})
    for _ in range(3):
        s.ask("amqp-declare-queue", f"--url=amqp://guest:guest@{s.server}", "-q", "q", seconds=20)
        s.ask("amqp-publish", f"--url=amqp://guest:guest@{s.server}", "-r", "q", "-b", "hello", seconds=20)
    s.expect("tcp", 5672, "amqp", "RabbitMQ", package("rabbitmq-server"))


@recording("amqp", "proton", {"python3": "python3-qpid-proton"})
def proton(s):
    listen = ("from proton.handlers import MessagingHandler\nfrom proton.reactor import Container\nimport sys\n"
              "class H(MessagingHandler):\n"
              "    def on_start(self, e): e.container.listen(sys.argv[1])\n"
              "Container(H()).run()\n")
    send = ("from proton import Message\nfrom proton.utils import BlockingConnection\nimport sys\n"
            "BlockingConnection(sys.argv[1], timeout=3).create_sender('q').send(Message('hello'))\n")
    s.serve("/usr/bin/python3", "-c", listen, f"{s.server}:5672", tcp=[5672])
    for _ in range(3):
        s.ask("/usr/bin/python3", "-c", send, f"amqp://{s.server}:5672", status=())
    s.expect("tcp", 5672, "amqp")


@recording("nats", "nats-server", {"nats-server": "nats-server"})
def nats(s):
    version = re.search(r"v(\d\S*)", call("nats-server", "--version"))[1]
    s.serve("nats-server", "-a", s.server, "-p", 4222, tcp=[4222])
    for _ in range(3):
        lines(s, 4222, 'CONNECT {"verbose":false,"pedantic":false,"lang":"python"}\r\nPING\r\n', "PUB a 2\r\nhi\r\n")
    s.expect("tcp", 4222, "nats", "nats-server", version)


@recording("zookeeper", "zookeeper", {"/usr/share/zookeeper/bin/zkCli.sh": "zookeeper"})
def zookeeper(s):
    (s.folder / "zoo.cfg").write_text(f"tickTime=2000\ndataDir={s.folder}/data\nclientPort=2181\nadmin.enableServer=false\n"
                                      "4lw.commands.whitelist=*\n")
    jars = "/etc/zookeeper/conf:/usr/share/java/*"
    s.serve("java", "-cp", jars, "org.apache.zookeeper.server.quorum.QuorumPeerMain", s.folder / "zoo.cfg", tcp=[2181],
            ready_s=30)
    s.ask("java", "-cp", jars, "org.apache.zookeeper.ZooKeeperMain", "-server", f"{s.server}:2181", "ls", "/", seconds=30,
          status=())
    for word in ("ruok", "srvr", "mntr"):
        lines(s, 2181, word)
    s.expect("tcp", 2181, "zookeeper", "ZooKeeper", package("zookeeper"))


@recording("nbd", "nbd-server", {"nbd-server": "nbd-server", "nbdinfo": "libnbd-bin"})
def nbd(s):
    (s.folder / "disk").write_bytes(bytes(1 << 20))
    (s.folder / "nbd.conf").write_text(f"[generic]\nlistenaddr = {s.server}\n[disk1]\nexportname = {s.folder}/disk\n")
    s.serve("nbd-server", "-d", "-C", s.folder / "nbd.conf", tcp=[10809])
    for _ in range(3):
        s.ask("nbdinfo", f"nbd://{s.server}/disk1", status=())
    s.expect("tcp", 10809, "nbd")


@recording("iscsi", "tgt", {"tgtd": "tgt", "iscsi-inq": "libiscsi-bin"})
def tgt(s):
    (s.folder / "disk").write_bytes(bytes(1 << 20))
    s.serve("tgtd", "-f", "-C", 7, "--iscsi", f"portal={s.server}:3260", tcp=[3260])
    target = "iqn.2001-04.test.ewt:disk1"
    for words in (["--op", "new", "--mode", "target", "--tid", 1, "-T", target],
                  ["--op", "new", "--mode", "logicalunit", "--tid", 1, "--lun", 1, "-b", s.folder / "disk"],
                  ["--op", "bind", "--mode", "target", "--tid", 1, "-I", "ALL"]):
        s.prepare("tgtadm", "-C", 7, "--lld", "iscsi", *words)
    s.ask("iscsi-ls", f"iscsi://{s.server}:3260")
    for _ in range(3):
        s.ask("iscsi-inq", f"iscsi://{s.server}:3260/{target}/1")
    s.expect("tcp", 3260, "iscsi")


@recording("rsync", "rsync", {"rsync": "rsync"})
def rsync(s):
    (s.folder / "r.conf").write_text(f"use chroot = no\nuid = nobody\ngid = nogroup\n[share]\npath = {s.folder}\n")
    s.serve("rsync", "--daemon", "--no-detach", f"--config={s.folder}/r.conf", f"--address={s.server}", tcp=[873])
    for _ in range(3):
        s.ask("rsync", f"rsync://{s.server}/")
        s.ask("rsync", f"rsync://{s.server}/share/", status=())
    s.expect("tcp", 873, "rsync")


@recording("git", "git-daemon", {"git": "git"})
def git(s):
    s.prepare("git", "init", "-q", "--bare", s.folder / "web.git")
    s.prepare("sh", "-c", "git init -q w && cd w && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m a && "
                          "git push -q ../web.git HEAD:main")
    s.serve("git", "daemon", f"--base-path={s.folder}", "--export-all", f"--listen={s.server}", tcp=[9418])
    for version in (0, 2):
        s.ask("git", "-c", f"protocol.version={version}", "ls-remote", f"git://{s.server}/web.git")
    s.ask("git", "clone", "-q", f"git://{s.server}/web.git", "copy")
    s.expect("tcp", 9418, "git", "git", call("git", "--version").split()[2])


@recording("svn", "svnserve", {"svnserve": "subversion"})
def svn(s):
    s.prepare("svnadmin", "create", s.folder / "r")
    s.serve("svnserve", "-d", "--foreground", "-r", s.folder, "--listen-host", s.server, tcp=[3690])
    for _ in range(3):
        s.ask("svn", "ls", f"svn://{s.server}/r")
    s.expect("tcp", 3690, "svn")


def irc(s, product, version):
    for nick in ("joe", "ann", "bob"):
        lines(s, 6667, f"NICK {nick}\r\nUSER {nick} 0 * :{nick}\r\n", "JOIN #a\r\n", "QUIT\r\n", wait_s=2)
    s.expect("tcp", 6667, "irc", product, version)


@recording("irc", "ngircd", {"ngircd": "ngircd"})
def ngircd(s):
    (s.folder / "n.conf").write_text(f"[Global]\nName = irc.ewt.test\nInfo = a\nListen = {s.server}\n[Options]\nPAM = no\n"
                                     "Ident = no\nDNS = no\n")
    (s.folder / "n.conf").chmod(0o644)
    s.serve("ngircd", "-n", "-f", s.folder / "n.conf", tcp=[6667], user="nobody")
    irc(s, "ngircd", re.search(r"ngIRCd (\S+?)-", call("ngircd", "--version"))[1])


@recording("jabber", "prosody", {"prosody": "prosody"})
def prosody(s):
    (s.folder / "p.lua").write_text(
        'modules_disabled = { "s2s"; "tls" }\nc2s_require_encryption = false\nallow_unencrypted_plain_auth = true\n'
        f'interfaces = {{ "{s.server}" }}\ndata_path = "{s.folder}"\npidfile = "{s.folder}/pid"\n'
        f'log = {{ info = "*console" }}\nVirtualHost "chat.ewt.test"\n')
    s.serve("prosody", "--config", s.folder / "p.lua", "-F", tcp=[5222], user="nobody")
    for _ in range(3):
        lines(s, 5222, "<?xml version='1.0'?><stream:stream to='chat.ewt.test' xmlns='jabber:client' "
                       "xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>", "</stream:stream>")
    s.expect("tcp", 5222, "jabber")


@recording("http2", "nghttpd", {"nghttpd": "nghttp2-server", "nghttp": "nghttp2-client"})
def nghttpd(s):
    (s.folder / "index.html").write_text("hello")
    s.serve("nghttpd", "--no-tls", "-a", s.server, "-d", s.folder, 8080, tcp=[8080])
    for _ in range(3):
        s.ask("nghttp", f"http://{s.server}:8080/index.html")
    s.expect("tcp", 8080, "http2")


@recording("http2", "etcd", {"etcd": "etcd-server", "etcdctl": "etcd-client"})
def etcd(s):
    url = f"http://{s.server}:2379"
    s.serve("etcd", "--data-dir", s.folder / "d", "--listen-client-urls", url, "--advertise-client-urls", url, tcp=[2379],
            ready_s=20)
    for _ in range(3):
        s.ask("etcdctl", f"--endpoints={url}", "put", "a", "b", env={"ETCDCTL_API": "3"})
    s.expect("tcp", 2379, "http2")


def web(s, port, *paths):
    s.ask_python("import http.client, sys\n"
                 "for path in sys.argv[1:]:\n"
                 f"    c = http.client.HTTPConnection(HOST, {port}, timeout=5); c.request('GET', path); c.getresponse().read()\n",
                 *paths, *paths)


@recording("http", "influxdb", {"influxd": "influxdb"})
def influxdb(s):
    (s.folder / "i.conf").write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:8088"\n[meta]\ndir = "{s.folder}/m"\n[data]\ndir = "{s.folder}/d"\n'
        f'wal-dir = "{s.folder}/w"\n[http]\nbind-address = "{s.server}:8086"\n')
    s.serve("influxd", "-config", s.folder / "i.conf", tcp=[8086], ready_s=20)
    web(s, 8086, "/ping", "/query?q=SHOW+DATABASES")
    s.expect("tcp", 8086, "http", "InfluxDB", package("influxdb"))


@recording("http", "docker-registry", {"docker-registry": "docker-registry"})
def registry(s):
    (s.folder / "r.yml").write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {s.folder}\nhttp:\n  addr: {s.server}:5000\n")
    s.serve("docker-registry", "serve", s.folder / "r.yml", tcp=[5000])
    web(s, 5000, "/v2/", "/v2/_catalog")
    s.expect("tcp", 5000, "http")


@recording("http", "node-exporter", {"prometheus-node-exporter": "prometheus-node-exporter"})
def node_exporter(s):
    s.serve("prometheus-node-exporter", f"--web.listen-address={s.server}:9100", tcp=[9100])
    web(s, 9100, "/metrics")
    s.expect("tcp", 9100, "http")


@recording("clickhouse", "clickhouse", {"clickhouse-server": "clickhouse-server", "clickhouse-client": "clickhouse-client"})
def clickhouse(s):
    (s.folder / "c.xml").write_text(
        f"<yandex><logger><console>1</console></logger><http_port>8123</http_port><tcp_port>9000</tcp_port>"
        f"<listen_host>{s.server}</listen_host><path>{s.folder}/ch/</path><tmp_path>{s.folder}/tmp/</tmp_path>"
        "<users_config>u.xml</users_config><default_profile>default</default_profile><default_database>default</default_database>"
        "<mark_cache_size>5368709120</mark_cache_size></yandex>")
    (s.folder / "u.xml").write_text(
        "<yandex><profiles><default/></profiles><users><default><password></password><networks><ip>::/0</ip></networks>"
        "<profile>default</profile><quota>default</quota></default></users><quotas><default/></quotas></yandex>")
    s.serve("clickhouse-server", f"--config-file={s.folder}/c.xml", tcp=[9000, 8123], ready_s=30)
    for _ in range(3):
        s.ask("clickhouse-client", "--host", s.server, "--query", "SELECT 1")
    web(s, 8123, "/?query=SELECT+1")
    s.expect("tcp", 9000, "clickhouse", "ClickHouse", ".".join(package("clickhouse-server").split(".")[:2]))
    s.expect("tcp", 8123, "http", "ClickHouse")


@recording("drda", "derby", {"ij": "derby-tools"})
def derby(s):
    jars = "/usr/share/java/*"
    s.serve("java", f"-Dderby.system.home={s.folder}", "-cp", jars, "org.apache.derby.drda.NetworkServerControl", "start",
            "-h", s.server, "-noSecurityManager", tcp=[1527], ready_s=20)
    for _ in range(2):
        s.ask("java", "-cp", jars, "org.apache.derby.tools.ij",
              stdin=f"connect 'jdbc:derby://{s.server}:1527/a;create=true';\nvalues 1;\n", seconds=20, status=())
    s.expect("tcp", 1527, "drda", "Apache Derby", package("derby-tools"))



@recording("glusterfs", "glusterd", {"glusterd": "glusterfs-server", "gluster": "glusterfs-cli"})
def glusterd(s):
    for folder in ("lib", "log"):
        (s.folder / folder).mkdir()
    (s.folder / "g.vol").write_text(
        "volume management\n type mgmt/glusterd\n option transport-type socket\n"
        f" option working-directory {s.folder}/lib\n option transport.socket.listen-port 24007\n"
        f" option transport.socket.bind-address {s.server}\nend-volume\n")
    s.serve("glusterd", "-N", "-f", s.folder / "g.vol", "-p", s.folder / "pid", "-l", "-", tcp=[24007], ready_s=20)
    for _ in range(3):
        s.ask("gluster", f"--remote-host={s.server}", f"--log-file={s.folder}/cli.log", "pool", "list", status=())
    s.expect("tcp", 24007, "glusterfs")


@recording("rtmp", "nginx-rtmp", {"nginx": "libnginx-mod-rtmp", "rtmpdump": "rtmpdump"})
def nginx_rtmp(s):
    (s.folder / "n.conf").write_text(
        f"load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\npid {s.folder}/pid;\nerror_log stderr;\ndaemon off;\n"
        f"events {{ }}\nrtmp {{ server {{ listen {s.server}:1935; application live {{ live on; }} }} }}\n")
    s.serve("nginx", "-c", s.folder / "n.conf", "-p", s.folder, tcp=[1935])
    for _ in range(2):
        s.ask("rtmpdump", "-r", f"rtmp://{s.server}/live/a", "-o", "a.flv", "-B", 1, "-m", 2, status=(), seconds=4)
    s.expect("tcp", 1935, "rtmp")


@recording("rtsp", "gstreamer", {"python3": "gir1.2-gst-rtsp-server-1.0"})
def gstreamer(s):
    s.serve("/usr/bin/python3", "-c",
            "import gi\n"
            "gi.require_version('GstRtspServer', '1.0')\n"
            "from gi.repository import Gst, GstRtspServer, GLib\n"
            "Gst.init(None); server = GstRtspServer.RTSPServer(); server.attach(None); GLib.MainLoop().run()\n", tcp=[8554])
    for _ in range(3):
        lines(s, 8554, *(f"{method} rtsp://{s.server}:8554/a RTSP/1.0\r\nCSeq: {n}\r\nUser-Agent: ewt\r\n\r\n"
                         for n, method in enumerate(("OPTIONS", "DESCRIBE"), 1)))
    s.expect("tcp", 8554, "rtsp", "GStreamer RTSP server")


TORRENT = """
import libtorrent as lt, pathlib, sys, time
role, host, folder = sys.argv[1:4]
files = lt.file_storage(); lt.add_files(files, folder + "/file")
made = lt.create_torrent(files); lt.set_piece_hashes(made, folder); info = lt.torrent_info(made.generate())
s = lt.session({"listen_interfaces": "0.0.0.0:6881", "enable_dht": True, "enable_lsd": False, "dht_bootstrap_nodes": "",
                "dht_restrict_routing_ips": False, "enable_outgoing_utp": False,
                "in_enc_policy": 2, "out_enc_policy": 2})  # 2: in the clear
(pathlib.Path(folder) / role).mkdir(exist_ok=True)
h = s.add_torrent({"ti": info, "save_path": folder if role == "seed" else folder + "/" + role})
if role != "seed":
    s.add_dht_node((host, 6881))
    for second in range(25):  # a busy machine checks the file for longer before either side takes a connection
        h.connect_peer((host, 6881)); time.sleep(1)
        if second >= 5 and h.status().is_seeding:
            break
time.sleep(40 if role == "seed" else 1)
"""


@recording("bittorrent", "libtorrent", {"python3": "python3-libtorrent"})
def libtorrent(s):
    (s.folder / "file").write_bytes(bytes(range(256)) * 1024)
    s.serve("/usr/bin/python3", "-c", TORRENT, "seed", s.client, s.folder, tcp=[6881], udp=[6881])
    s.ask("/usr/bin/python3", "-c", TORRENT, "take", s.server, s.folder, status=(), seconds=35)
    s.expect("tcp", 6881, "bittorrent", "libtorrent")
    s.expect("udp", 6881, "bittorrent-dht")


@recording("http", "tinyproxy", {"tinyproxy": "tinyproxy"})
def tinyproxy(s):
    (s.folder / "t.conf").write_text(f"Port 3128\nListen {s.server}\nTimeout 10\nMaxClients 10\nAllow 0.0.0.0/0\n")
    s.serve("tinyproxy", "-d", "-c", s.folder / "t.conf", tcp=[3128])
    s.serve("socat", "TCP-LISTEN:8443,fork,reuseaddr", "EXEC:cat", tcp=[8443])
    for _ in range(2):
        lines(s, 3128, f"CONNECT {s.server}:8443 HTTP/1.1\r\nHost: {s.server}:8443\r\n\r\n", "hello")
    s.expect("tcp", 3128, "http")


@recording("http", "cups", {"cupsd": "cups-daemon", "ipptool": "cups-ipp-utils"})
def cups(s):
    (s.folder / "files.conf").write_text(
        f"ServerRoot {s.folder}\nRequestRoot {s.folder}\nCacheDir {s.folder}\nStateDir {s.folder}\nAccessLog stderr\n"
        f"ErrorLog stderr\nPageLog stderr\nTempDir {s.folder}\nSystemGroup root\n")
    (s.folder / "cupsd.conf").write_text(f"Listen {s.server}:631\nServerAlias *\n<Location />\n Allow all\n</Location>\n")
    s.serve("cupsd", "-f", "-c", s.folder / "cupsd.conf", "-s", s.folder / "files.conf", tcp=[631])
    for _ in range(2):
        s.ask("ipptool", "-t", f"ipp://{s.server}:631/", "get-printers.test", status=())
    s.expect("tcp", 631, "http", "CUPS", ".".join(package("cups-daemon").split(".")[:2]))
