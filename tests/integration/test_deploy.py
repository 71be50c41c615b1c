"""What `deploy/` says is true of this version: its tools accept it, its configuration loads, its metrics exist."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from proxy.roles import load

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on PATH")
    return found


def accepts(*words: str, cwd: Path) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_alerts_fire_and_do_not_cry_wolf() -> None:
    promtool = tool("promtool")
    folder = DEPLOY / "prometheus"
    accepts(promtool, "check", "config", "--syntax-only", "scrape.yml", cwd=folder)
    accepts(promtool, "check", "rules", "farebox.rules.yml", cwd=folder)
    accepts(promtool, "test", "rules", "farebox.test.yml", cwd=folder)


def test_alerts_use_metrics_that_exist() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "proxy").rglob("*.py"))
    exported = set(re.findall(r'"(farebox_[a-z_]+)"', code))
    rules = (DEPLOY / "prometheus" / "farebox.rules.yml").read_text(encoding="utf-8")
    used = {name.removesuffix("_bucket") for name in re.findall(r"\bfarebox_[a-z_]+", rules)}
    assert used <= exported, used - exported


def test_the_kubernetes_configuration_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FAREBOX_ADMIN_TOKEN", "FAREBOX_PEPPER", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "a value for the tests")
    monkeypatch.setenv("FAREBOX_REDIS_URL", "redis://redis:6379/0")
    config = load(DEPLOY / "kubernetes" / "farebox.toml")
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "farebox.yaml").read_text(encoding="utf-8")))
    pod = documents[0]["spec"]["template"]["spec"]
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    assert config.server.listen == f"0.0.0.0:{ports['calls']}"
    assert config.admin.listen == f"0.0.0.0:{ports['operators']}"
    assert pod["terminationGracePeriodSeconds"] > config.server.drain_s + 40


def test_the_manifests_are_put_together() -> None:
    said = accepts(tool("kubectl"), "kustomize", str(DEPLOY / "kubernetes"), cwd=ROOT)
    kinds = {document["kind"] for document in yaml.safe_load_all(said)}
    assert kinds == {"Namespace", "ConfigMap", "StatefulSet", "Service"}


def test_the_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    text = (DEPLOY / "systemd" / "farebox.service").read_text(encoding="utf-8")
    unit = tmp_path / "farebox.service"
    unit.write_text(text.replace("/opt/farebox/bin/farebox", "/bin/true"), encoding="utf-8")
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in done.stderr.splitlines() if "farebox.service" in line]
    assert not complaints


def test_the_image_is_built_from_files_that_exist() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE) for word in line.split()[:-1]
    }
    assert copied
    allowed = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE))
    assert {name for name in copied if not (ROOT / name).exists()} == set()
    assert copied <= allowed
