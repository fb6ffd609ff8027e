"""docs/kuberay.yaml has the form that Kubernetes, KubeRay and Ray Serve want, and what it names is there."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from diffusion.fields import Fields
from diffusion.serve.settings import Settings

yaml = pytest.importorskip("yaml")
FILE = Path(__file__).parents[1] / "docs" / "kuberay.yaml"


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all(FILE.read_text())}


def test_every_manifest_says_what_it_is(manifests: dict[str, Any]) -> None:
    assert {(one["apiVersion"], kind) for kind, one in manifests.items()} == {
        ("v1", "ConfigMap"),
        ("ray.io/v1", "RayService"),
        ("networking.k8s.io/v1", "Ingress"),
    }
    assert all(one["metadata"]["name"] == "mezzotint" for one in manifests.values())


def test_the_configuration_in_it_is_one_that_we_read(manifests: dict[str, Any]) -> None:
    settings = Settings.of(Fields(json.loads(manifests["ConfigMap"]["data"]["serve.json"]), "serve.json"))
    [model] = settings.models
    workers = manifests["RayService"]["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    assert model.replicas == (workers["minReplicas"], workers["maxReplicas"])
    [container] = workers["template"]["spec"]["containers"]
    assert model.gpus == int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert model.cpus <= int(container["resources"]["limits"]["cpu"])
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(Path(settings.users).parent) in mounted


def test_what_serve_is_told_to_import_is_there_and_finds_its_file(manifests: dict[str, Any]) -> None:
    pytest.importorskip("starlette")
    serve = yaml.safe_load(manifests["RayService"]["spec"]["serveConfigV2"])
    [application] = serve["applications"]
    module, name = application["import_path"].split(":")
    assert callable(getattr(importlib.import_module(module), name))
    spec = manifests["RayService"]["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]
    mounts = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert application["args"]["config"] in mounts


def test_what_is_mounted_is_a_volume_and_the_ingress_reaches_the_port(manifests: dict[str, Any]) -> None:
    cluster = manifests["RayService"]["spec"]["rayClusterConfig"]
    for template in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        spec = template["template"]["spec"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} == volumes
        assert {"name": "serve", "containerPort": 8000} in spec["containers"][0]["ports"]
    [path] = manifests["Ingress"]["spec"]["rules"][0]["http"]["paths"]
    service = path["backend"]["service"]
    assert service == {"name": "mezzotint-serve-svc", "port": {"number": 8000}}  # what KubeRay names it


def test_ray_serve_takes_the_configuration(manifests: dict[str, Any]) -> None:
    schema = pytest.importorskip("ray.serve.schema")
    serve = yaml.safe_load(manifests["RayService"]["spec"]["serveConfigV2"])
    assert schema.ServeDeploySchema.model_validate(serve).applications[0].name == "embedded"
