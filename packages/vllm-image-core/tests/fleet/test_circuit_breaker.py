from vllm_image_core.fleet.circuit_breaker import PROBE_SECONDS, CircuitBreaker


def put_out(circuit: CircuitBreaker, now: float) -> None:
    circuit.record_failure(now, surely=True)


def let_in(circuit: CircuitBreaker, now: float) -> None:
    circuit.record_probe(now)
    circuit.half_open()
    circuit.record_success(now)


def test_three_failures_in_a_row_take_a_server_out_of_service() -> None:
    circuit = CircuitBreaker()
    for now in (1.0, 2.0):
        circuit.record_failure(now)
    circuit.record_success(3.0)
    for now in (4.0, 5.0):
        circuit.record_failure(now)
    assert not circuit.is_open

    circuit.record_failure(6.0)

    assert circuit.is_open


def test_a_refused_connection_takes_it_out_at_once() -> None:
    circuit = CircuitBreaker()
    put_out(circuit, 1.0)
    assert circuit.is_open


def test_a_server_that_is_out_is_probed_every_five_seconds_and_let_in_for_a_trial() -> None:
    circuit = CircuitBreaker()
    put_out(circuit, 100.0)
    assert next(now for now in range(100, 120) if circuit.may_probe(now)) == 100 + PROBE_SECONDS

    circuit.record_probe(105.0)
    assert not circuit.may_probe(109.9)
    assert circuit.may_probe(110.0)

    circuit.half_open()
    assert circuit.state == "trial"
    circuit.record_success(111.0)
    assert circuit.state == "closed"


def test_one_failure_during_a_trial_takes_it_out_again() -> None:
    circuit = CircuitBreaker()
    put_out(circuit, 0.0)
    circuit.half_open()
    circuit.record_failure(6.0)
    assert circuit.is_open


def test_a_flapping_server_is_left_out_for_longer_each_time() -> None:
    circuit = CircuitBreaker()
    waits: list[float] = []
    now = 0.0
    for _ in range(8):
        put_out(circuit, now)
        waits.append(circuit.next_probe - now)
        now = circuit.next_probe
        let_in(circuit, now)
        now += 1
    assert waits == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]


def test_a_server_that_stays_healthy_is_trusted_again() -> None:
    circuit = CircuitBreaker()
    now = 0.0
    for _ in range(4):
        put_out(circuit, now)
        now = circuit.next_probe
        let_in(circuit, now)
    while now < 2_000:
        circuit.record_success(now)
        now += 10

    put_out(circuit, now)

    assert circuit.next_probe - now == PROBE_SECONDS


def test_three_wrong_answers_take_a_server_out_for_a_minute_whatever_its_health() -> None:
    circuit = CircuitBreaker()
    for _ in range(3):
        assert not circuit.is_open
        circuit.record_bad_reply(10.0)
    assert circuit.is_open
    assert not circuit.may_probe(69.0, last_hope=True)
    assert circuit.may_probe(70.0)


def test_wrong_answers_between_right_ones_take_it_out_too() -> None:
    circuit = CircuitBreaker()
    answers = 0
    while not circuit.is_open:
        answers += 1
        circuit.record_bad_reply(1.0)
        circuit.record_success(1.0)
    assert answers <= 4


def test_if_no_server_is_left_a_failing_one_is_probed_early() -> None:
    circuit = CircuitBreaker()
    for now in (0.0, 1.0, 2.0):
        put_out(circuit, now)
        circuit.half_open()
    put_out(circuit, 3.0)
    assert not circuit.may_probe(8.0)
    assert circuit.may_probe(8.0, last_hope=True)


def test_a_server_in_doubt_may_be_probed_at_once_and_is_out_only_if_it_is_not_healthy() -> None:
    circuit = CircuitBreaker()
    circuit.mark_doubtful()
    assert circuit.is_open
    assert circuit.may_probe(0.0)
    circuit.half_open()
    assert circuit.state == "trial"

    circuit.mark_doubtful()
    circuit.record_ill_health(10.0)
    assert circuit.is_open
    assert not circuit.in_doubt
    assert circuit.next_probe == 10.0 + PROBE_SECONDS
