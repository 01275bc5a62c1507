# A VM of the lab: serves and asks as it is told, one command a line, one answer a line.
import http.server, socket, sys, threading, time, urllib.request

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"hello\n")
    def log_message(self, *_):
        pass

def background(work, *args):
    threading.Thread(target=work, args=args, daemon=True).start()

def tcp(listener):
    while True:
        peer, _ = listener.accept()
        background(shell, peer)

def shell(peer):
    with peer:
        while data := peer.recv(100):
            peer.sendall(b"uid=0(root) " + data)

def udp(sock):
    while True:
        data, peer = sock.recvfrom(100)
        sock.sendto(data, peer)

def serve_http(port):
    background(http.server.ThreadingHTTPServer(("", port), Page).serve_forever)

def serve_tcp(port):
    background(tcp, socket.create_server(("", port), backlog=16))

def serve_udp(port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", port))
    background(udp, sock)

def get(ip, port):
    urllib.request.urlopen(f"http://{ip}:{port}/", timeout=5).read()

def talk(ip, port):
    with socket.create_connection((ip, int(port)), timeout=5) as peer:
        peer.sendall(b"id\n")
        peer.recv(100)

def ask(ip, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((ip, int(port)))
        sock.send(b"\x01question")
        sock.recv(100)

def flood(ip, port, count):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(int(count)):
            sock.sendto(b"x" * 64, (ip, int(port)))

def sink(port):
    listener = socket.create_server(("", port))
    def run():
        while True:
            peer, _ = listener.accept()
            with peer:
                while peer.recv(1 << 20): pass
                peer.sendall(b"done")
    background(run)

def pour(ip, port, mib):
    with socket.create_connection((ip, int(port)), timeout=20) as peer:
        for _ in range(int(mib)):
            peer.sendall(bytes(1 << 20))
        peer.shutdown(socket.SHUT_WR)
        peer.recv(10)

def replay(path, interface):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock, open(path) as frames:
        sock.bind((interface, 0))
        for frame in frames:
            sock.send(bytes.fromhex(frame))

drips = []

def drip(ip, port, seconds):
    def run():
        end = time.monotonic() + float(seconds)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while time.monotonic() < end:
                sock.sendto(b"drip", (ip, int(port)))
                time.sleep(0.033)
    drips.append(threading.Thread(target=run, daemon=True))
    drips[-1].start()

def dripping():
    assert any(thread.is_alive() for thread in drips)

does = {
    "drip": drip, "dripping": dripping,
    "http": lambda port: serve_http(int(port)), "tcp": lambda port: serve_tcp(int(port)),
    "udp": lambda port: serve_udp(int(port)), "get": get, "talk": talk, "ask": ask, "flood": flood,
    "sink": lambda port: sink(int(port)), "pour": pour, "replay": replay,
}
for line in sys.stdin:
    word, *args = line.split()
    try:
        does[word](*args)
        print("ok", flush=True)
    except Exception as error:
        print(f"{line.strip()}: {error!r}", flush=True)
