"""A statement as a signed PDF (PAdES): set by Typst, signed by pyHanko; both are of the extra ``pdf``."""

from __future__ import annotations

import importlib.util
import io
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificate
from cryptography.x509.oid import NameOID
from msgspec import structs

from privguard.errors import ConfigError
from privguard.oversight.layout import Layout

_TEMPLATE: Final = Path(__file__).with_name("statement.typ")
_WHEEL: Final = "pylopdf_fonts_zh_cn"
CHINESE: Final = ("Noto Sans SC", "Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Micro Hei")
"""Families that set simplified Chinese, whichever is there first."""
NO_FONT: Final = (
    "No font for Chinese is here: `pip install 'privguard[pdf]'` brings one, or install your system's "
    "(Debian: fonts-noto-cjk)."
)
NO_EXTRA: Final = "A PDF needs its tools: `pip install 'privguard[pdf]'`; --json needs none."
VALID_DAYS: Final = 3650


def render(layout: Layout, made_s: int) -> bytes:
    """Sets a statement; ``made_s`` (POSIX seconds) is the file's date.

    Raises:
        ConfigError: there is no font for Chinese, which English statements need too (names may be Chinese),
            or the extra is not installed.
    """
    try:
        import typst
    except ModuleNotFoundError:
        raise ConfigError(NO_EXTRA) from None
    fonts = typst.Fonts(font_paths=_wheel())
    chinese = [family for family in CHINESE if family in fonts.families()]
    if not chinese:
        raise ConfigError(NO_FONT)
    data = msgspec.json.encode({**structs.asdict(layout), "fonts": chinese[:1]}).decode()
    compiler = typst.Compiler(_TEMPLATE.read_bytes(), font_paths=fonts, sys_inputs={"said": data})
    pdf = compiler.compile(format="pdf", timestamp=made_s)
    if not isinstance(pdf, bytes):
        raise ConfigError("Typst gave no PDF: install the version that privguard's extra `pdf` names.")
    return pdf


def _wheel() -> list[Path]:
    """The folder of the font that the extra installs; nothing of it is run."""
    found = importlib.util.find_spec(_WHEEL)
    return [Path(found.origin).parent] if found is not None and found.origin else []


def sign(pdf: bytes, pem: bytes, made_s: int) -> bytes:
    """Signs a PDF (PAdES B-B) and certifies that nothing in it may change.

    Args:
        pem: a private key, its certificate, and those between it and an authority.
        made_s: POSIX seconds.

    Raises:
        ConfigError: the file holds no such pair, or the certificate is not valid then; none of it is said.
    """
    try:
        from pyhanko.keys import load_certs_from_pemder_data, load_private_key_from_pemder_data
        from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
        from pyhanko.sign import fields, signers
        from pyhanko_certvalidator.registry import SimpleCertificateStore
    except ModuleNotFoundError:
        raise ConfigError(NO_EXTRA) from None
    marker = b"-----BEGIN CERTIFICATE-----"
    key, _, rest = pem.partition(marker)
    try:
        certificate, *others = load_certs_from_pemder_data(marker + rest)
        private = load_private_key_from_pemder_data(key, passphrase=None)
        if (
            load_pem_private_key(key, None).public_key()
            != load_pem_x509_certificate(marker + rest).public_key()
        ):
            raise ValueError("the certificate is another key's")
    except (ValueError, TypeError):
        raise ConfigError(
            "[audit] statement_signer is no PEM file of a private key without passphrase and its certificate."
        ) from None
    if not certificate.not_valid_before.timestamp() <= made_s < certificate.not_valid_after.timestamp():
        raise ConfigError("The certificate in [audit] statement_signer is not valid today: have it renewed.")
    chain = SimpleCertificateStore()
    chain.register_multiple(others)
    signer = signers.SimpleSigner(certificate, private, chain)
    meta = signers.PdfSignatureMetadata(
        field_name="Statement",
        md_algorithm="sha256",
        subfilter=fields.SigSeedSubFilter.PADES,
        certify=True,
        docmdp_permissions=fields.MDPPerm.NO_CHANGES,
    )
    out: io.BytesIO = signers.sign_pdf(IncrementalPdfFileWriter(io.BytesIO(pdf)), meta, signer)
    return out.getvalue()


def new_signer(name: str, today: date) -> bytes:
    """A fresh key with a certificate that it signed itself, as PEM; to be replaced by an authority's."""
    key, begin = generate_private_key(SECP256R1()), datetime.combine(today, time(), UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(True, True, *[False] * 7)  # digital signature, content commitment
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)
