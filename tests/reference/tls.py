"""Certificates of a server on this machine, and of who vouches for it or for others: ../data/tls, for tests/hub.rs.

Run: python tls.py, in this folder (cryptography 48). The key of the server is of the tests alone.
"""

from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

folder = Path(__file__).resolve().parents[1] / "data" / "tls"


def name(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def signed(subject, key, issuer, by, extension, critical):
    builder = x509.CertificateBuilder(name(issuer), name(subject), key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(datetime(2020, 1, 1)).not_valid_after(datetime(2120, 1, 1))
    return builder.add_extension(extension, critical).sign(by, hashes.SHA256())


def write(file, certificate):
    (folder / file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


keys = {who: ec.generate_private_key(ec.SECP256R1()) for who in ["ca", "other", "server"]}
for who in ["ca", "other"]:
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    write(f"{who}.pem", signed(f"polysema tests {who}", keys[who], f"polysema tests {who}", keys[who], constraints, True))
names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")])
write("server.pem", signed("localhost", keys["server"], "polysema tests ca", keys["ca"], names, False))
pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
(folder / "server.key").write_bytes(keys["server"].private_bytes(*pem))
