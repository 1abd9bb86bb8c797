import asyncio

from relaywatch.engine.arrivals import ArrivalBoard
from relaywatch.model.evidence import Arrival, ArrivalKind
from relaywatch.model.tokens import Token

ONE, TWO, THREE = Token("one"), Token("two"), Token("three")


def arrival(token, subject=""):
    return Arrival(token=token, kind=ArrivalKind.MAIL, at=None, subject=subject)


def test_what_has_arrived_already_answers_at_once(run):
    async def main():
        board = ArrivalBoard()
        board.note(arrival(TWO))
        expected = board.expect([ONE, TWO], 10)
        return expected.done(), await expected

    assert (True, arrival(TWO)) == run(main())


def test_the_first_of_the_tokens_wins(run):
    async def main():
        board = ArrivalBoard()
        expected = board.expect([ONE, TWO], 10)
        for token in (THREE, TWO, ONE):
            board.note(arrival(token))
        return await expected

    assert arrival(TWO) == run(main())


def test_several_may_wait_for_one(run):
    async def main():
        board = ArrivalBoard()
        expected = [board.expect([ONE], 10), board.expect([ONE, TWO], 10)]
        board.note(arrival(ONE))
        return await asyncio.gather(*expected)

    assert [arrival(ONE)] * 2 == run(main())


def test_nothing_when_the_time_is_over(run):
    async def main():
        board = ArrivalBoard()
        return [await board.expect([ONE], 0.02), await board.expect([ONE], 0), board._waiting]

    assert [None, None, {}] == run(main())


def test_whoever_gives_up_is_forgotten(run):
    async def main():
        board = ArrivalBoard()
        board.expect([ONE, TWO], 10).cancel()
        await asyncio.sleep(0)
        board.note(arrival(ONE))
        return board._waiting

    assert {} == run(main())


def test_arrivals_are_kept_in_the_order_of_the_tokens():
    board = ArrivalBoard()
    board.register([ONE])
    for token, subject in [(ONE, "a"), (TWO, "b"), (ONE, "c")]:
        board.note(arrival(token, subject))

    assert ["b", "a", "c"] == [each.subject for each in board.arrivals([TWO, THREE, ONE])]


def test_of_strangers_only_the_last_are_kept():
    board = ArrivalBoard(max_strangers=2)
    board.note(arrival(ONE))
    board.register([ONE])
    for number in range(100):
        board.note(arrival(Token(str(number))))

    assert (arrival(ONE),) == board.arrivals([ONE])
    assert 2 == len(board._strangers)
    assert (arrival(Token("99")),) == board.arrivals([Token("99")])


def test_of_one_token_only_so_many_are_kept():
    board = ArrivalBoard()
    for _ in range(1000):
        board.note(arrival(ONE))

    assert 20 == len(board.arrivals([ONE]))


def test_what_is_forgotten_is_gone():
    board = ArrivalBoard()
    board.register([ONE, TWO])
    board.note(arrival(ONE))
    board.forget([ONE, THREE])

    assert () == board.arrivals([ONE])


def test_registering_twice_loses_nothing():
    board = ArrivalBoard()
    board.register([ONE])
    board.note(arrival(ONE))
    board.register([ONE])

    assert (arrival(ONE),) == board.arrivals([ONE])
