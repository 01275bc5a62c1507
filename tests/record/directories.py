"""Directories and who is who: ldap, krb5."""

from record import recording
from stage import certificate

LDIF = """dn: dc=ewt,dc=test
objectClass: dcObject
objectClass: organization
o: test
dc: ewt

dn: cn=alice,dc=ewt,dc=test
objectClass: person
cn: alice
sn: test
userPassword: sesame

"""
ALICE = ["-D", "cn=alice,dc=ewt,dc=test"]


def ask_ldap(s, port, tls):
    url = ["-x", "-H", f"ldap://{s.server}:{port}", "-o", "nettimeout=3"]
    base = ["-b", "dc=ewt,dc=test"]
    s.ask("ldapsearch", *url, "-b", "", "-s", "base", "+", status=())  # the root DSE, as each client asks first
    s.ask("ldapsearch", *url, *base, *ALICE, "-w", "sesame", "(cn=alice)")
    s.ask("ldapsearch", *url, *base, *ALICE, "-w", "guess", status=(49,))
    if tls:
        s.ask("ldapsearch", "-ZZ", *url, *base, *ALICE, "-w", "sesame", env={"LDAPTLS_REQCERT": "never"})
    s.ask_python(
        "import ldap3\n"
        f"c = ldap3.Connection(ldap3.Server(HOST, {port}, get_info=ldap3.NONE), 'cn=alice,dc=ewt,dc=test', 'sesame')\n"
        "assert c.bind(); c.search('dc=ewt,dc=test', '(objectClass=*)'); c.unbind()")


@recording("ldap", "slapd", {"slapd": "slapd", "ldapsearch": "ldap-utils"}, ["ldap3"])
def slapd(s):
    key, cert = certificate(s)
    (s.folder / "data").mkdir()
    (s.folder / "slapd.conf").write_text(
        "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n"
        f"TLSCertificateFile {cert}\nTLSCertificateKeyFile {key}\npidfile {s.folder}/pid\n"
        f"database mdb\nsuffix dc=ewt,dc=test\ndirectory {s.folder}/data\n")
    (s.folder / "tree.ldif").write_text(LDIF)
    s.prepare("slapadd", "-f", "slapd.conf", "-l", "tree.ldif")
    s.serve("slapd", "-d", "0", "-f", "slapd.conf", "-h", f"ldap://{s.server}", tcp=[389])
    ask_ldap(s, 389, tls=True)
    s.expect("tcp", 389, "ldap")


@recording("ldap", "ldaptor", {"ldapsearch": "ldap-utils"}, ["ldaptor", "ldap3"])
def ldaptor(s):
    (s.folder / "tree.ldif").write_text(LDIF)
    s.serve_python(
        "import io\n"
        "from twisted.internet import reactor, protocol\n"
        "from ldaptor.protocols.ldap.ldapserver import LDAPServer\n"
        "from ldaptor.inmemory import fromLDIFFile\n"
        "from ldaptor.interfaces import IConnectedLDAPEntry\n"
        "from twisted.python.components import registerAdapter\n"
        "class Site(protocol.ServerFactory):\n"
        "    protocol = LDAPServer\n"
        "registerAdapter(lambda site: site.root, Site, IConnectedLDAPEntry)\n"
        "def ready(root):\n"
        "    site = Site(); site.root = root\n"
        "    reactor.listenTCP(10389, site)\n"
        "fromLDIFFile(open('tree.ldif', 'rb')).addCallback(ready)\n"
        "reactor.run()\n", tcp=[10389])
    ask_ldap(s, 10389, tls=False)
    s.expect("tcp", 10389, "ldap")


KRB5 = {"krb5kdc": "krb5-kdc", "kadmin.local": "krb5-admin-server", "kinit": "krb5-user"}


def kdc(s, transport):
    prefer = 1 if transport == "tcp" else 1400
    conf = (f"[libdefaults]\ndefault_realm = EWT.TEST\ndns_lookup_kdc = false\nudp_preference_limit = {prefer}\n"
            f"[realms]\nEWT.TEST = {{\n kdc = {s.server}:88\n}}\n"
            f"[kdcdefaults]\nkdc_ports = 88\nkdc_tcp_ports = 88\n"
            f"[dbmodules]\nEWT.TEST = {{\n database_name = {s.folder}/principal\n}}\n")
    (s.folder / "krb5.conf").write_text(conf)
    (s.folder / "kdc.conf").write_text(
        f"[realms]\nEWT.TEST = {{\n key_stash_file = {s.folder}/stash\n database_name = {s.folder}/principal\n}}\n")
    env = {"KRB5_CONFIG": str(s.folder / "krb5.conf"), "KRB5_KDC_PROFILE": str(s.folder / "kdc.conf"),
           "KRB5CCNAME": f"FILE:{s.folder}/tickets"}
    s.prepare("kdb5_util", "create", "-s", "-W", "-r", "EWT.TEST", "-P", "master", env=env)
    s.prepare("kadmin.local", "-q", "addprinc -pw sesame +requires_preauth alice", env=env)
    s.prepare("kadmin.local", "-q", "addprinc -randkey host/vm.test", env=env)
    s.serve("krb5kdc", "-n", env=env, tcp=[88], udp=[88])
    s.ask("kinit", "alice", stdin="sesame\n", env=env)
    s.ask("kvno", "host/vm.test", env=env)
    s.ask("kinit", "alice", stdin="guess\n", env=env, status=(1,))
    s.ask("kinit", "nobody", stdin="guess\n", env=env, status=(1,))
    s.expect(transport, 88, "krb5")


@recording("krb5", "mit-udp", KRB5)
def mit_udp(s):
    kdc(s, "udp")


@recording("krb5", "mit-tcp", KRB5)
def mit_tcp(s):
    kdc(s, "tcp")
