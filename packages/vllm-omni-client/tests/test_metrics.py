"""The metrics page: the few numbers we use, and no page that breaks the reading."""

from hypothesis import given
from hypothesis import strategies as st
from vllm_omni_client.metrics import ServerMetrics, parse

PAGE = """\
# HELP vllm_omni:num_requests_running Number of requests running.
# TYPE vllm_omni:num_requests_running gauge
vllm_omni:num_requests_running{model_name="m",stage="0"} 1.0
vllm_omni:num_requests_running{model_name="m",stage="1"} 2.0
vllm_omni:num_requests_waiting{model_name="a \\"quoted\\" } name, with \\\\ all"} 3 1700000000000
vllm_omni:requests_success_total{finished_reason="stop",model_name="m"} 40.0
vllm_omni:requests_success_total{finished_reason="length",model_name="m"} 2.0
vllm_omni:requests_success_created{finished_reason="stop",model_name="m"} 1.7e+09
vllm_omni:requests_failed_total{reason="client_abort"} 5.0
vllm_omni:image_count_total{model_name="m"} 44.0
vllm_omni:peak_memory_mb{model_name="m",stage="0"} 927.21875
vllm_omni:peak_memory_mb{model_name="m",stage="1"} 14321.0
vllm_omni:e2e_request_latency_s_bucket{le="+Inf"} 4.0
vllm_omni:e2e_request_latency_s_sum 10.0
vllm_omni:e2e_request_latency_s_count 4.0
vllm_omni:request_queue_wait_s_sum 1.0
vllm_omni:request_queue_wait_s_count 4.0
vllm_omni:denoise_step_latency_s_sum{stage="0"} 3.0
vllm_omni:denoise_step_latency_s_count{stage="0"} 12.0
http_requests_total{handler="/health"} 99.0
"""


def test_a_page_of_0_30_is_read() -> None:
    assert parse(PAGE) == ServerMetrics(
        requests_running=3,
        requests_waiting=3,
        requests_succeeded=42,
        requests_failed=5,
        images=44,
        peak_memory_mb=14321.0,
        mean_request_seconds=2.5,
        mean_queue_wait_seconds=0.25,
        mean_step_seconds=0.25,
    )


def test_untimed_steps_are_derived_from_the_execution_time() -> None:
    """As on a server without the pipeline's profiler, which is how they are started."""
    text = """\
# TYPE vllm_omni:denoise_step_latency_s histogram
vllm_omni:diffusion_exec_per_step_s_count{stage="0"} 30.0
vllm_omni:diffusion_exec_per_step_s_sum{stage="0"} 1.5
"""
    assert parse(text).mean_step_seconds == 0.05


def test_windows_line_ends_change_nothing() -> None:
    assert parse(PAGE.replace("\n", "\r\n")) == parse(PAGE)


def test_an_older_server_without_the_family_reports_nothing() -> None:
    assert parse("python_info 1.0\nvllm:num_requests_running 4.0\n") == ServerMetrics()
    assert parse("") == ServerMetrics()


UNREADABLE = """\
vllm_omni:num_requests_running NaN
vllm_omni:num_requests_waiting +Inf
vllm_omni:peak_memory_mb 1_000
vllm_omni:peak_memory_mb 1e999
vllm_omni:image_count_total{open="
vllm_omni:requests_success_total
vllm_omni:requests_failed_total -1
vllm_omni:requests_failed_total 0.5 soon
"""


def test_unreadable_lines_are_skipped() -> None:
    assert parse(UNREADABLE) == ServerMetrics()


def test_the_mean_of_nothing_is_none() -> None:
    page = "vllm_omni:e2e_request_latency_s_sum 0.0\nvllm_omni:e2e_request_latency_s_count 0.0\n"
    assert parse(page).mean_request_seconds is None


def test_a_long_hostile_line_takes_no_time() -> None:
    assert (
        parse("vllm_omni:x{" + '"\\' * 200_000 + "\n" + "vllm_omni:num_requests_running 1\n").requests_running
        == 1
    )


@given(
    st.text(max_size=300)
    | st.lists(
        st.sampled_from(["vllm_omni:", "peak_memory_mb", "{", "}", '"', "\\", " ", "1", "\n", "="]),
        max_size=40,
    ).map("".join)
)
def test_no_page_breaks_it(page: str) -> None:
    assert isinstance(parse(page), ServerMetrics)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=30), st.integers(0, 10**6))
def test_no_label_hides_a_value(label: str, value: int) -> None:
    quoted = label.replace("\\", "\\\\").replace('"', '\\"')
    assert (
        parse(f'vllm_omni:num_requests_running{{model_name="{quoted}"}} {value}\n').requests_running == value
    )
