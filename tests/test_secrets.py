"""Which files hold keys and passwords: by name, by what a link leads to, and by what is in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lsp_server.text import secrets
from lsp_server.text.secrets import Looks, is_secret, secret_in


@pytest.mark.parametrize(
    ("uri", "secret"),
    [
        ("file:///p/.env", True), ("file:///p/.env.local", True), ("file:///p/%2Eenv", True), ("file:///p/a.pem", True),
        ("file:///h/.ssh/id_rsa", True), ("file:///h/.aws/credentials", True), ("file:///p/Secrets.yaml", True),
        ("C:\\p\\server.KEY", True), ("file:///p/app.py", False), ("file:///p/credentials.py", False),
        ("file:///p/environment.yml", False), ("file:///p/keys.ts", False),
        ("file:///p/.envrc", True), ("file:///p/.env-prod", True), ("file:///p/.env_local", True),
        ("file:///p/env.local", True), ("file:///p/.env.example", False), ("file:///p/.env.local.sample", False),
        ("file:///p/env.ts", False), ("file:///p/env.d.ts", False), ("file:///p/terraform.tfstate", True),
        ("file:///p/terraform.tfstate.backup", True), ("file:///p/client_secret_1.apps.json", True),
        ("file:///p/service-account-prod.json", True), ("file:///p/services.json", False),
        ("file:///h/kubeconfig", True), ("file:///h/.kube/config", True), ("file:///p/server.key.enc", True),
        ("file:///p/key.pem.bak", True), ("file:///p/.env.swp", True), ("file:///p/id_rsa~", True),
        ("file:///h/.vault-token", True), ("file:///h/.dockercfg", True), ("file:///h/.Renviron", True),
        ("file:///p/.git/config", True), ("file:///h/.ssh/config", True), ("file:///h/.aws/config", True),
        ("file:///h/.gnupg/gpg.conf", True), ("file:///p/.gitignore", False), ("file:///p/.github/ci.yml", False),
        ('git:/p/.env?{"path":"/p/.env","ref":"~"}', True), ("file:///p/.env?x#y", True), ("untitled:.env", True),
        ("git:/p/app.ts?ref=.env", False), ("file://[p/.env", True), ("file:///p/a#b.pem", True),
        ("file:///p/a.pem#b", True),
        ("C:\\h\\.ssh\\config", True),
        ("file:///p/.env.sample", False), ("file:///p/.env.template", False), ("file:///p/.env.example.bak", False),
        ("file:///p/prod.auto.tfvars", True), ("file:///p/terraform.tfstate.d/x", False), ("file:///h/.netrc", True),
        ("file:///h/.pgpass", True), ("file:///h/.npmrc", True), ("file:///h/.pypirc", True),
        ("file:///p/a.kdbx", True),
        ("file:///p/a.jks", True), ("file:///p/a.p12", True), ("file:///h/.docker/config.json", True),
        ("file:///h/.config/gcloud/x.db", True), ("file:///p/secrets.go", False), ("file:///p/credentials.ts", False),
        ("file:///p/secrets.sh", True), ("file:///p/secrets.json", True), ("file:///p/.env.py", True),
        ("file:///p/id_rsa_test.go", False), ("file://host/share/.env", True), ("file:///c%3A/p/.ENV", True),
        ("vscode-remote://ssh-remote%2Bh/p/.env", True), ("file:///p/" + "a" * 300, True),
        ("file:///" + "." * 5000, True),
    ],
)  # fmt: skip
def test_secret_files(uri: str, secret: bool) -> None:
    assert is_secret(uri) == secret


@pytest.mark.parametrize(
    ("pattern", "uri", "secret"),
    [
        ("*.vault.yml", "file:///p/a.vault.yml", True), ("*.vault.yml", "file:///p/a.yml", False),
        ("*.VAULT.yml", "file:///p/A.vault.yml", True), ("deploy/keys/*", "file:///p/deploy/keys/a.py", True),
        ("deploy/keys/*", "file:///p/xdeploy/keys/a.py", False), ("/deploy/*", "file:///p/deploy/a", True),
        ("*a" * 100 + "b", "file:///p/" + "a" * 200, False), ("x" * 300, "file:///p/" + "x" * 200, False),
        ("[", "file:///p/a", False), ("", "file:///p/a", False),
    ],
)  # fmt: skip
def test_a_users_own_patterns_are_for_names_or_ends_of_paths(pattern: str, uri: str, secret: bool) -> None:
    assert is_secret(uri, (pattern,)) == secret


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "known").write_text("")
    (tmp_path / "notes.py").symlink_to(".ssh/known")
    (tmp_path / "keys").symlink_to(".ssh")
    (tmp_path / "open.py").symlink_to("absent.py")
    (tmp_path / "circle.py").symlink_to("circle.py")
    for name, secret in {"notes.py": True, "keys/known": True, "open.py": False, "circle.py": False}.items():
        uri = (tmp_path / name).as_uri()
        assert not is_secret(uri)
        assert ("links to" in secret_in(uri, 1, "x = 1")) == secret, name


def test_a_form_that_somebody_filled_in_is_a_secret() -> None:
    uri, token = "file:///p/.env.example", "ghp_" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xYz12"[:34] + "Zq"
    assert secret_in(uri, 1, "GITHUB_TOKEN=your-token\n") == ""
    assert secret_in(uri, 2, f"GITHUB_TOKEN={token}\n") == "it holds a GitHub token"
    assert secret_in(uri, 3, "GITHUB_TOKEN=\n") == ""


def test_a_version_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(secrets, "credential_in", lambda text: seen.append(text) or "")
    looks = Looks()
    for version, text in ((1, "a"), (1, "a"), (2, "b"), (2, "b"), (2, "c")):
        looks.at("file:///p/a.py", version, text)
    looks.at("file:///p/b.py", 1, "a")
    assert seen == ["a", "b", "c", "a"]


def test_only_so_many_documents_are_remembered() -> None:
    looks = Looks()
    for number in range(secrets.MAX_DOCUMENTS + 10):
        looks.at(f"file:///p/{number}.py", 1, "")
    assert len(looks._found) == secrets.MAX_DOCUMENTS
