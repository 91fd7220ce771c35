"""Secrets that PostgreSQL 15 keeps for passwords, and exchanges that a client of RFC 5802 and 7677 would have with them.

    python3 scram.py > scram.json          # not as root; needs initdb and postgres of PostgreSQL 15 on the path

`prepared` is the password as PostgreSQL's SASLprep writes it, which is checked here against its secret.
"""

import base64
import hashlib
import hmac
import json
import re
import subprocess
import tempfile

# What a user types, and what of it is hashed: itself where SASLprep forbids it.
PASSWORDS = [
    ("pencil", "pencil"),
    ("pass word, with = and ,", "pass word, with = and ,"),
    ("I\u00adX", "IX"),  # a soft hyphen is nothing
    ("\u2168", "IX"),  # ROMAN NUMERAL NINE
    ("\u00aa", "a"),  # FEMININE ORDINAL INDICATOR
    ("e\u0301t\u00e9", "\u00e9t\u00e9"),  # composed
    ("no\u00a0break", "no break"),
    ("\u00ad", "\u00ad"),  # nothing would be left
    ("bell\u0007", "bell\u0007"),  # a control character is forbidden
    ("\u0627\u0031", "\u0627\u0031"),  # Arabic that does not end so is forbidden
    ("\U0001f600", "\U0001f600"),  # unassigned in Unicode 3.2
    ("\u65e5\u672c", "\u65e5\u672c"),
    ("x" * 200, "x" * 200),
]


def b64(data):
    return base64.b64encode(data).decode()


def mac(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


def keys(prepared, salt, iterations):
    salted = hashlib.pbkdf2_hmac("sha256", prepared.encode(), salt, iterations)
    return mac(salted, b"Client Key"), mac(salted, b"Server Key")


def of_postgresql(passwords):
    """The secrets in pg_authid."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["initdb", "-E", "UTF8", "--locale=C.UTF-8", "-D", folder], check=True, capture_output=True)
        statements = "".join(
            f"CREATE ROLE r{i} PASSWORD '{password}';\n" for i, password in enumerate(passwords)
        )
        statements += "SELECT rolname, rolpassword FROM pg_authid WHERE rolname ~ '^r[0-9]' ORDER BY oid;\n"
        command = ["postgres", "--single", "-c", "password_encryption=scram-sha-256", "-D", folder, "postgres"]
        said = subprocess.run(command, input=statements.encode(), check=True, capture_output=True).stdout.decode()
        found = re.findall(r'rolpassword = "([^"]+)"', said)
        assert len(found) == len(passwords), said
        return found


def exchange(prepared, secret, header, nonces):
    shape, stored_and_server = secret.removeprefix("SCRAM-SHA-256$").split("$")
    iterations, salt = shape.split(":")
    stored, server = map(base64.b64decode, stored_and_server.split(":"))
    client_key, server_key = keys(prepared, base64.b64decode(salt), int(iterations))
    assert hashlib.sha256(client_key).digest() == stored and server_key == server, repr(prepared)
    bare = f"n=,r={nonces[0]}"  # psql names nobody: the start-up message has
    server_first = f"r={nonces[0]}{nonces[1]},s={salt},i={iterations}"
    final = f"c={b64(header.encode())},r={nonces[0]}{nonces[1]}"
    message = f"{bare},{server_first},{final}".encode()
    proof = bytes(a ^ b for a, b in zip(client_key, mac(stored, message)))
    return {
        "server_nonce": nonces[1],
        "client_first": header + bare,
        "server_first": server_first,
        "client_final": f"{final},p={b64(proof)}",
        "server_final": f"v={b64(mac(server, message))}",
    }


secrets = of_postgresql([password for password, _ in PASSWORDS])
result = []
for i, ((password, prepared), secret) in enumerate(zip(PASSWORDS, secrets)):
    nonces = [b64(hashlib.sha256(f"{side} {i}".encode()).digest()[:18]) for side in ("client", "server")]
    entry = {"password": password, "secret": secret}
    result.append(entry | exchange(prepared, secret, ["n,,", "y,,"][i % 2], nonces))
version = subprocess.run(["postgres", "--version"], check=True, capture_output=True, text=True).stdout.strip()
print(json.dumps({"made_by": version, "exchanges": result}, indent=1))
