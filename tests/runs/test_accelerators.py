"""What Ray and CUDA call an accelerator, held against the price table."""

import pytest

from serve_app.runs.accelerators import priced_as
from serve_app.runs.ledger import LIST_USD_PER_S, Prices, Usage, cost_of


@pytest.mark.parametrize(
    ("name", "key"),
    [
        # Ray's accelerator_type labels
        ("T4", "T4"),
        ("L4", "L4"),
        ("L40S", "L40S"),
        ("A10G", "A10"),
        ("A100-40G", "A100-40"),
        ("A100-80G", "A100-80"),
        ("H100", "H100"),
        # torch.cuda.get_device_name
        ("Tesla T4", "T4"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA A10G", "A10"),
        ("NVIDIA A100-SXM4-40GB", "A100-40"),
        ("NVIDIA A100-PCIE-40GB", "A100-40"),
        ("NVIDIA A100 80GB PCIe", "A100-80"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100"),
        ("nvidia h100 nvl", "H100"),
    ],
)
def test_a_name_is_priced_as_its_key(name: str, key: str) -> None:
    assert priced_as(name, LIST_USD_PER_S) == key


@pytest.mark.parametrize(
    "name",
    ["A100", "NVIDIA L40", "NVIDIA GH200 480GB", "NVIDIA H200", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "unknown", ""],
)
def test_what_is_not_in_the_table_or_not_said_keeps_its_name(name: str) -> None:
    assert priced_as(name, LIST_USD_PER_S) == name


def test_your_own_key_goes_before_a_shorter_one() -> None:
    assert priced_as("NVIDIA H100 NVL", {"H100": 1.0, "H100 NVL": 2.0}) == "H100 NVL"


def test_the_exact_name_is_a_key_too() -> None:
    assert priced_as("NVIDIA A100-SXM4-40GB MIG 1g.5gb", {"NVIDIA A100-SXM4-40GB MIG 1g.5gb": 1.0, "A100-40": 7.0}) == (
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    )


def test_the_ledger_prices_a_device_by_its_cuda_name_and_keeps_that_name() -> None:
    (step,) = cost_of([Usage("draft", 10.0, "NVIDIA H100 80GB HBM3", gpus=1.0)], Prices()).by_step
    assert step.usd == pytest.approx(10 * LIST_USD_PER_S["H100"])
    assert step.usage.accelerator == "NVIDIA H100 80GB HBM3"
