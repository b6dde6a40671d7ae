import pytest
from pydantic import ValidationError
from vllm_omni_client.simulator import Fault, FaultPlan, SimulatorSettings

PATH = "/v1/images/generations"


def met(plan: FaultPlan, requests: int, path: str = PATH) -> list[int]:
    """The numbers of the requests that a fault affects."""
    return [number for number in range(1, requests + 1) if plan.next_fault(path) is not None]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("status", Fault(kind="status")),
        ("reset-in@3", Fault(kind="reset-in", first=3, last=3)),
        ("truncate@2-4", Fault(kind="truncate", first=2, last=4)),
        ("black@5-", Fault(kind="black", first=5)),
        ("fewer@10%", Fault(kind="fewer", percent=10.0)),
        (
            "status,status=429,retry_after=2@1-3",
            Fault(kind="status", status=429, retry_after="2", first=1, last=3),
        ),
        ("delay,seconds=0.5,path=/health", Fault(kind="delay", seconds=0.5, path="/health")),
        ("gzip-bomb,mebibytes=7", Fault(kind="gzip-bomb", mebibytes=7)),
        ("model-swap,name=other@2", Fault(kind="model-swap", name="other", first=2, last=2)),
    ],
)
def test_a_fault_is_written_as_text_and_read_again(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault
    assert str(fault) == text
    assert Fault.parse(str(fault)) == fault


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "kind: Input should be 'status'"),
        ("nonsense", "kind: Input should be 'status'"),
        ("status,429", "'429' is not an option of a fault"),
        ("status,first=2", "WHEN after an @"),
        ("status,status=9", "status: Input should be greater than or equal to 200"),
        ("status@0", "first: Input should be greater than or equal to 1"),
        ("status@x", "first: Input should be a valid integer"),
        ("status@", "first: Input should be a valid integer"),
        ("status@3-2", "the last request, 2, comes before the first, 3"),
        ("status@200%", "percent: Input should be less than or equal to 100"),
        ("delay,seconds=inf", "seconds: Input should be a finite number"),
        ("status,colour=red", "colour: Extra inputs are not permitted"),
    ],
)
def test_text_that_is_not_a_fault_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"not a valid fault|not an option") as caught:
        Fault.parse(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("status", [1, 2, 3, 4, 5, 6]),
        ("status@3", [3]),
        ("status@2-4", [2, 3, 4]),
        ("status@5-", [5, 6]),
        ("status,path=/health", []),
    ],
)
def test_requests_are_counted_from_one(text: str, numbers: list[int]) -> None:
    assert met(FaultPlan([Fault.parse(text)]), 6) == numbers


def test_a_percentage_is_met_and_repeatable_with_its_seed() -> None:
    first, again, other = (met(FaultPlan([Fault.parse("status@10%")], seed=seed), 1000) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert 70 <= len(first) <= 130


def test_other_paths_are_not_counted() -> None:
    plan = FaultPlan([Fault.parse("status@2")])
    assert plan.next_fault(PATH) is None
    assert plan.next_fault("/health") is None
    assert plan.next_fault(PATH) == Fault.parse("status@2")


def test_of_several_faults_the_first_one_happens_and_all_count() -> None:
    plan = FaultPlan([Fault.parse("black@2"), Fault.parse("status@1-3")])
    kinds = [fault.kind for fault in (plan.next_fault(PATH) for _ in range(3)) if fault is not None]
    assert kinds == ["status", "black", "status"]
    assert plan.counts() == {"black@2": 1, "status@1-3": 2}


def test_faults_are_added_and_cleared_while_it_runs() -> None:
    plan = FaultPlan()
    assert plan.next_fault(PATH) is None
    plan.add("status@1", Fault(kind="black"))
    assert [fault.kind if fault else None for fault in (plan.next_fault(PATH), plan.next_fault(PATH))] == [
        "status",
        "black",
    ]
    plan.clear()
    assert plan.next_fault(PATH) is None
    assert plan.counts() == {}


def test_nothing_is_added_if_one_of_several_is_invalid() -> None:
    plan = FaultPlan()
    with pytest.raises(ValueError, match="not a valid fault"):
        plan.add("status", "nonsense")
    assert plan.counts() == {}


def test_settings_accept_faults_as_text_or_as_values() -> None:
    settings = SimulatorSettings.model_validate({"faults": ["status@1", Fault(kind="black")]})
    assert settings.faults == (Fault.parse("status@1"), Fault(kind="black"))
    with pytest.raises(ValidationError, match="'nonsense' is not a valid fault"):
        SimulatorSettings.model_validate({"faults": ["nonsense"]})
