"""Databases and caches: redis, memcached, mysql, pgsql, mongodb, mssql-tds."""

import re
import shutil

from record import recording
from stage import call, certificate


@recording("redis", "redis-server", {"redis-server": "redis-server", "redis-cli": "redis-tools"}, ["redis"])
def redis_server(s):
    version = re.search(r"v=(\S+)", call("redis-server", "--version"))[1]
    s.serve("redis-server", "--port", 6379, "--bind", s.server, "--save", "", "--dir", s.folder,
            "--requirepass", "sesame", tcp=[6379], user="nobody")
    cli = ["redis-cli", "-h", s.server]
    s.ask(*cli, "PING")  # refused: NOAUTH
    s.ask(*cli, "-a", "sesame", stdin="SET a 1\nGET a\nLPUSH l x y\nLRANGE l 0 -1\nINFO server\nQUIT\n")
    s.ask_python("import redis\n"
                 "r = redis.Redis(HOST, password='sesame', protocol=3)\n"
                 "r.hset('h', mapping={'k': 'v'}); r.hgetall('h'); p = r.pipeline(); p.incr('n'); p.get('n'); p.execute()")
    s.expect("tcp", 6379, "redis", "Redis", version)


@recording("redis", "opencanary", {"redis-cli": "redis-tools"}, ["opencanary"])
def redis_canary(s):
    s.serve_canary("redis", 6379)
    for words in (["PING"], ["-a", "guess", "GET", "a"], ["KEYS", "*"]):
        s.ask("redis-cli", "-h", s.server, *words, status=())
    s.expect("tcp", 6379, "redis")


@recording("memcached", "memcached", {"memcached": "memcached", "memccp": "libmemcached-tools"}, ["pymemcache"])
def memcached(s):
    version = call("memcached", "--version").split()[1]
    s.serve("memcached", "-l", s.server, "-p", 11211, "-U", 11211, "-u", "nobody", tcp=[11211], udp=[11211])
    (s.folder / "note").write_text("first line\r\nsecond line\n")
    s.ask("memccp", f"--servers={s.server}", s.folder / "note")
    s.ask("memccat", f"--servers={s.server}", "note")
    s.ask("memcstat", f"--servers={s.server}")
    s.ask_python("from pymemcache.client.base import Client\n"
                 "c = Client((HOST, 11211)); c.set('k', 'v'); c.get('k'); c.incr('n', 1); c.version(); c.quit()")
    # No packaged client speaks the UDP frame any more; its eight bytes are in the server's protocol.txt.
    s.ask_python("import socket\n"
                 "for n in range(3):\n"
                 "    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(3); u.connect((HOST, 11211))\n"
                 "    u.send(bytes([0, n, 0, 0, 0, 1, 0, 0]) + b'get note\\r\\n'); u.recv(1500)")
    s.expect("tcp", 11211, "memcached", "memcached", version)
    s.expect("udp", 11211, "memcached")


@recording("memcached", "memcached-binary", {"memcached": "memcached", "memccp": "libmemcached-tools"})
def memcached_binary(s):
    s.serve("memcached", "-l", s.server, "-p", 11211, "-u", "nobody", tcp=[11211])
    (s.folder / "note").write_text("binary protocol\n")
    for tool in ("memccp", "memccat", "memcexist", "memcrm"):
        s.ask(tool, "--binary", f"--servers={s.server}", s.folder / "note" if tool == "memccp" else "note")
    s.expect("tcp", 11211, "memcached")


@recording("mysql", "mariadb", {"mariadbd": "mariadb-server", "mariadb": "mariadb-client"}, ["pymysql"])
def mariadb(s):
    version = re.search(r"Ver (\d+\.\d+\.\d+)", call("mariadbd", "--version"))[1]
    data = s.folder / "data"
    data.mkdir(mode=0o700)
    shutil.chown(data, "mysql", "mysql")
    key, cert = certificate(s, "mysql")
    s.prepare("mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={data}", "--skip-test-db",
              "--auth-root-authentication-method=normal")
    (s.folder / "init.sql").write_text(
        "CREATE USER 'app'@'%' IDENTIFIED BY 'sesame';\nCREATE DATABASE shop;\nGRANT ALL ON shop.* TO 'app'@'%';\n")
    s.serve("mariadbd", "--no-defaults", "--user=mysql", f"--datadir={data}", f"--socket={s.folder}/my.sock",
            f"--bind-address={s.server}", "--skip-name-resolve", f"--init-file={s.folder}/init.sql",
            f"--pid-file={data}/pid", f"--ssl-cert={cert}", f"--ssl-key={key}", tcp=[3306])
    login = ["mariadb", "--no-defaults", "-h", s.server, "-u", "app"]
    s.ask(*login, "-psesame", "--skip-ssl", "shop", "-e", "CREATE TABLE t (a INT); INSERT INTO t VALUES (1); SELECT * FROM t")
    s.ask(*login, "-psesame", "--ssl", "shop", "-e", "SELECT VERSION()")
    s.ask(*login, "-pwrong", "--skip-ssl", "-e", "SELECT 1", status=(1,))
    s.ask_python("import pymysql\n"
                 "c = pymysql.connect(host=HOST, user='app', password='sesame', database='shop', ssl_disabled=True)\n"
                 "k = c.cursor(); k.execute('SELECT a FROM t'); k.fetchall(); c.close()")
    s.expect("tcp", 3306, "mysql", "MariaDB", version)


@recording("mysql", "mysql-mimic", {"mariadb": "mariadb-client"}, ["mysql_mimic", "pymysql"])
def mysql_mimic(s):
    s.serve_python("import asyncio\nfrom mysql_mimic import MysqlServer\n"
                   "asyncio.run(MysqlServer().serve_forever(host='0.0.0.0', port=3306))", tcp=[3306])
    for _ in range(2):
        s.ask("mariadb", "--no-defaults", "-h", s.server, "-u", "levon", "--skip-ssl", "-e", "SELECT 1", status=())
    s.ask_python("import pymysql\n"
                 "c = pymysql.connect(host=HOST, user='levon'); k = c.cursor(); k.execute('SELECT 1'); c.close()")
    s.expect("tcp", 3306, "mysql", "MySQL", "8.0.29")


@recording("mysql", "opencanary", {"mariadb": "mariadb-client"}, ["opencanary"])
def mysql_canary(s):
    s.serve_canary("mysql", 3306, banner="5.5.43-0ubuntu0.14.04.1")
    for user in ("root", "admin", "app"):
        s.ask("mariadb", "--no-defaults", "-h", s.server, "-u", user, "-pguess", "--skip-ssl", "-e", "SELECT 1", status=(1,))
    s.expect("tcp", 3306, "mysql", "MySQL", "5.5.43-0ubuntu0.14.04.1")


def postgres(s, port, **more):
    key, cert = certificate(s, "postgres")
    s.prepare("install", "-d", "-o", "postgres", "-m", "700", s.folder / "pg")
    (s.folder / "password").write_text("sesame\n")
    s.prepare("initdb", "-D", s.folder / "pg", "-U", "postgres", "--auth=scram-sha-256", "--no-sync",
              f"--pwfile={s.folder}/password", user="postgres")
    with open(s.folder / "pg/pg_hba.conf", "a") as hba:
        hba.write("host all all 10.250.0.0/16 scram-sha-256\n")
    s.serve("postgres", "-D", s.folder / "pg", "-p", port, "-k", s.folder, "-h", "0.0.0.0", "-c", "fsync=off",
            "-c", "ssl=on", "-c", f"ssl_cert_file={cert}", "-c", f"ssl_key_file={key}", tcp=[port], user="postgres")


@recording("pgsql", "postgresql", {"psql": "postgresql", "postgres": "postgresql"}, ["pg8000"])
def postgresql(s):
    version = re.search(r"(\d+\.\d+)", call("/usr/lib/postgresql/15/bin/postgres", "--version"))[1]
    postgres(s, 5432)
    for mode, password in (("disable", "sesame"), ("prefer", "sesame"), ("disable", "wrong")):
        s.ask("psql", f"host={s.server} user=postgres sslmode={mode}", "-c", "SELECT 1", "-c", "CREATE TABLE t (a int)",
              env={"PGPASSWORD": password}, status=(0, 1, 2))
    s.ask_python("import pg8000.native\n"
                 "c = pg8000.native.Connection('postgres', host=HOST, password='sesame')\n"
                 "c.run('SELECT :a', a=1); c.close()")
    s.expect("tcp", 5432, "pgsql", "PostgreSQL", version)


@recording("pgsql", "pgbouncer", {"psql": "postgresql", "pgbouncer": "pgbouncer"})
def pgbouncer(s):
    (s.folder / "users").write_text('"app" "sesame"\n')
    (s.folder / "pgbouncer.ini").write_text(
        f"[pgbouncer]\nlisten_addr = {s.server}\nlisten_port = 6432\nauth_type = md5\nauth_file = {s.folder}/users\n"
        "admin_users = app\nunix_socket_dir =\n")
    s.serve("pgbouncer", s.folder / "pgbouncer.ini", tcp=[6432], user="nobody")
    login = f"host={s.server} port=6432 user=app dbname=pgbouncer"
    for command, password in (("SHOW VERSION", "sesame"), ("SHOW POOLS", "sesame"), ("SHOW POOLS", "wrong")):
        s.ask("psql", login, "-c", command, env={"PGPASSWORD": password}, status=(0, 2))
    version = re.search(r"PgBouncer (\S+)", call("pgbouncer", "--version"))[1]
    s.expect("tcp", 6432, "pgsql", "PgBouncer", version)


@recording("mongodb", "mockupdb", modules=["mockupdb", "pymongo"])
def mockupdb(s):
    s.serve_python(
        "import mockupdb, time\n"
        "s = mockupdb.MockupDB(port=27017)\n"
        f"s._address = ('{s.server}', 27017)  # it knows only localhost\n"
        "s.autoresponds(lambda r: r.ok())  # the last that is told is asked first\n"
        "hello = {'ismaster': True, 'minWireVersion': 0, 'maxWireVersion': 21, 'maxBsonObjectSize': 1 << 24}\n"
        "s.autoresponds(lambda r: r.command_name.lower() in ('ismaster', 'hello') and r.ok(hello))\n"
        "answers = {'buildinfo': {'version': '7.0.5', 'gitVersion': '7809d71e', 'versionArray': [7, 0, 5, 0]}, 'insert': {'n': 1},\n"
        "           'find': {'cursor': {'id': 0, 'ns': 'shop.t', 'firstBatch': [{'a': 1}]}}}\n"
        "s.autoresponds(lambda r: r.command_name.lower() in answers and r.ok(answers[r.command_name.lower()]))\n"
        "s.run(); time.sleep(50)", tcp=[27017])
    s.ask_python("import pymongo\n"
                 "for n in range(2):\n"
                 "    c = pymongo.MongoClient(HOST, 27017, serverSelectionTimeoutMS=5000)\n"
                 "    c.shop.t.insert_one({'a': n}); list(c.shop.t.find()); c.server_info(); c.close()")
    s.expect("tcp", 27017, "mongodb", "MongoDB", "7.0.5")


@recording("mongodb", "opencanary", modules=["opencanary", "pymongo"])
def mongodb_canary(s):
    s.serve_canary("mongodb", 27017)
    for _ in range(3):
        s.ask_python("import pymongo\n"
                     "c = pymongo.MongoClient(HOST, 27017, username='root', password='guess', serverSelectionTimeoutMS=3000)\n"
                     "try: c.admin.command('ping')\n"
                     "except Exception as e: print(e)")
    s.expect("tcp", 27017, "mongodb", "MongoDB")


@recording("mssql-tds", "opencanary-freetds", {"tsql": "freetds-bin"}, ["opencanary"])
def tds_freetds(s):
    s.serve_canary("mssql", 1433, version="2012")
    for tds in ("7.4", "7.3", "7.1"):
        s.ask("tsql", "-H", s.server, "-p", 1433, "-U", "sa", "-P", "guess", env={"TDSVER": tds}, status=())
    s.expect("tcp", 1433, "mssql-tds", "Microsoft SQL Server", "12.0.4100")


@recording("mssql-tds", "opencanary-pytds", modules=["opencanary", "pytds"])
def tds_pytds(s):
    s.serve_canary("mssql", 1433, version="2012")
    s.ask_python("import pytds\n"
                 "for user in ('sa', 'app', 'admin'):\n"
                 "    try: pytds.connect(HOST, user=user, password='guess', login_timeout=3, autocommit=True)\n"
                 "    except Exception as e: print(e)")
    s.expect("tcp", 1433, "mssql-tds", "Microsoft SQL Server", "12.0.4100")
