"""Mail: imap, pop3, smtp."""

import shutil

from record import recording
from stage import VENV, certificate

IMAP = """
import imaplib, ssl, sys
box = imaplib.IMAP4(HOST)
if 'tls' in sys.argv:
    box.starttls(ssl._create_unverified_context())
try:
    box.login('alice', sys.argv[1]); box.select('INBOX'); box.search(None, 'ALL'); box.noop()
except imaplib.IMAP4.error as refused:
    print(refused)
box.logout()
"""
POP3 = """
import poplib, ssl, sys
box = poplib.POP3(HOST)
try:
    box.capa()
    if 'tls' in sys.argv:
        box.stls(ssl._create_unverified_context())
    box.user('alice'); box.pass_(sys.argv[1]); box.stat(); box.list()
except poplib.error_proto as refused:
    print(refused)
box.quit()
"""


def dovecot(s, protocol, port):
    key, cert = certificate(s)
    for name in ("mail", "run", "state"):
        (s.folder / name).mkdir()
    shutil.chown(s.folder / "mail", "nobody", "nogroup")
    (s.folder / "users").write_text("alice:{PLAIN}sesame\n")
    (s.folder / "dovecot.conf").write_text(
        f"protocols = {protocol}\nlisten = {s.server}\nbase_dir = {s.folder}/run\nstate_dir = {s.folder}/state\n"
        f"log_path = /dev/stderr\nssl = yes\nssl_cert = <{cert}\nssl_key = <{key}\ndisable_plaintext_auth = no\n"
        f"mail_location = maildir:{s.folder}/mail/%u\nfirst_valid_uid = 1\n"
        f"passdb {{\n driver = passwd-file\n args = {s.folder}/users\n}}\n"
        f"userdb {{\n driver = static\n args = uid=nobody gid=nogroup home={s.folder}/mail/%u\n}}\n")
    s.folder.chmod(0o755)
    s.serve("dovecot", "-F", "-c", s.folder / "dovecot.conf", tcp=[port])


def ask_all(s, client):
    for words in (["sesame"], ["wrong"], ["sesame", "tls"]):
        s.ask_python(client, *words)


@recording("imap", "dovecot", {"dovecot": "dovecot-imapd"})
def imap_dovecot(s):
    dovecot(s, "imap", 143)
    ask_all(s, IMAP)
    s.ask("curl", "-sS", "-m", 5, f"imap://{s.server}/INBOX", "-u", "alice:sesame", "-X", "NOOP")
    s.expect("tcp", 143, "imap", "Dovecot")


@recording("pop3", "dovecot", {"dovecot": "dovecot-pop3d", "curl": "curl"})
def pop3_dovecot(s):
    dovecot(s, "pop3", 110)
    ask_all(s, POP3)
    s.ask("curl", "-sS", "-m", 5, f"pop3://{s.server}/", "-u", "alice:sesame")
    s.expect("tcp", 110, "pop3", "Dovecot")


def mailutils(s, program, port):
    s.serve(program, "--no-config", "--daemon", "--foreground", "--set", ".mandatory-locking.enable=no",
            "--set", f".server[{s.server}:{port}].transcript=no", tcp=[port])


@recording("imap", "mailutils", {"imap4d": "mailutils-imap4d", "curl": "curl"})
def imap_mailutils(s):
    mailutils(s, "imap4d", 143)
    for _ in range(2):
        s.ask_python(IMAP, "guess")
    s.ask("curl", "-sS", "-m", 5, f"imap://{s.server}/", "-u", "alice:guess", status=(67,))
    s.expect("tcp", 143, "imap")


@recording("pop3", "mailutils", {"pop3d": "mailutils-pop3d", "curl": "curl"})
def pop3_mailutils(s):
    mailutils(s, "pop3d", 110)
    for _ in range(2):
        s.ask_python(POP3, "guess")
    s.ask("curl", "-sS", "-m", 5, f"pop3://{s.server}/", "-u", "alice:guess", status=(67,))
    s.expect("tcp", 110, "pop3")


SEND = """
import smtplib, ssl, sys
m = smtplib.SMTP(HOST, local_hostname='client.test')
if 'tls' in sys.argv:
    m.starttls(context=ssl._create_unverified_context())
m.sendmail('a@client.test', ['bob@server.test'], 'Subject: note\\r\\n\\r\\nhello\\r\\n')
m.quit()
"""


def ask_smtp(s):
    (s.folder / "note").write_text("Subject: note\r\n\r\nhello again\r\n")
    s.ask("curl", "-sS", "-m", 5, f"smtp://{s.server}/client.test", "--mail-from", "a@client.test", "--mail-rcpt",
          "bob@server.test", "-T", "note")
    s.ask_python(SEND)
    s.expect("tcp", 25, "smtp")


@recording("smtp", "aiosmtpd", {"curl": "curl"}, ["aiosmtpd"])
def smtp_aiosmtpd(s):
    key, cert = certificate(s, "nobody")
    s.serve(VENV / "bin/aiosmtpd", "-n", "-l", f"{s.server}:25", "--tlscert", cert, "--tlskey", key, "--no-requiretls",
            tcp=[25])
    ask_smtp(s)
    s.ask_python(SEND, "tls")


@recording("smtp", "python-smtpd", {"curl": "curl"})
def smtp_smtpd(s):
    s.serve("/usr/bin/python3", "-W", "ignore", "-m", "smtpd", "-n", "-c", "DebuggingServer", f"{s.server}:25", tcp=[25])
    ask_smtp(s)
    s.ask_python(SEND)
