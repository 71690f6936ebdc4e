"""Promised: the numbers are right although workers are killed while flows come and go: every connection is
counted once, nothing stays active, no byte of a flow that ended in order is missing. Checked against the
books of thousands of clients.

What SIGKILL can take: a worker that dies between accept(2) and its next few instructions has a connection
that nobody counted. That is one connection a kill at most, because a worker counts each before it accepts the
next one; and its client gets no answer. So the promise has an upper and a lower end, and they are that close.
"""

import asyncio
import collections
import contextlib
import os
import signal

import harness
from harness import group, scaled
from maps import Numbers
from peers import client_context

FLOWS = int(os.environ.get("TLSPLICE_FLOWS", scaled(10000, 1000)))
AT_ONCE = 40
KILLS = 10
LAST = b"last"


class KilledMeanwhile(Numbers):
    def test_thousands_of_flows_while_workers_are_killed(self):
        asyncio.run(self.run_flows())

    async def run_flows(self):
        target = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=2048)
        address = "127.0.0.1:{}".format(target.sockets[0].getsockname()[1])
        listeners = self.plain_and_web()
        async with target:
            self.proxy = await asyncio.to_thread(self.start, listeners, [group(address)])
            gate = asyncio.Semaphore(AT_ONCE)
            killer = asyncio.create_task(self.kill_workers())
            await asyncio.gather(*(self.flow(gate, "plain" if number % 10 else "web", number)
                                   for number in range(FLOWS)))
            await asyncio.wait_for(killer, harness.PATIENCE)
            await asyncio.to_thread(self.check, address)

    @staticmethod
    async def serve(reader, writer):
        """Says back half of each block, and a last word when the client has ended: so only a flow that was
        relayed to its end has both the word and an end."""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data[:len(data) // 2 + 1])
                await writer.drain()
            writer.write(LAST)
            await writer.drain()
        writer.close()

    async def flow(self, gate, listener, number):
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[listener])
            book = self.books[listener]
            book["connected"] += 1
            try:
                async with asyncio.timeout(harness.PATIENCE):
                    await self.exchange(reader, writer, listener, number)
            except (ConnectionError, asyncio.IncompleteReadError):
                book["cut"] += 1
            finally:
                writer.close()  # wait_closed() never returns after a start_tls() that failed

    async def exchange(self, reader, writer, listener, number):
        book, sent, got = self.books[listener], 0, 0
        if listener == "web":
            await writer.start_tls(client_context(), server_hostname="localhost")
        for size in 1, number * 7 % 1000 + 1, 500:
            book["sent"] += size
            writer.write(bytes(size))
            await writer.drain()
            got += len(await reader.readexactly(size // 2 + 1))
            sent += size
            book["answered"] += sent == 1
        if writer.can_write_eof():
            writer.write_eof()
            if await reader.read() != LAST:
                raise ConnectionError("cut at its end")
        book.update(ended=1, sent_in_order=sent, got_in_order=got)

    async def kill_workers(self):
        """In the middle of things: each time when another share of the clients has come."""
        for kill in range(KILLS):
            while sum(book["connected"] for book in self.books.values()) < FLOWS * (kill + 0.5) / KILLS:
                await asyncio.sleep(0.001)
            while not (victim := self.proxy.workers().get(kill % 2)):
                await asyncio.sleep(0.01)
            os.kill(victim, signal.SIGKILL)

    def check(self, address):
        self.wait_sums("workers", {"restarts": KILLS, "active": 0})
        for name in "listeners", "targets", "counters":
            self.wait_sums(name, {"ActiveFlowCount": 0})
        total = sum(self.books.values(), collections.Counter())
        self.assertEqual(total["connected"], FLOWS)
        self.assertGreater(total["cut"], 0, "no kill met a flow")
        self.assertGreater(total["ended"], FLOWS - KILLS * AT_ONCE)
        for listener, book in self.books.items():
            row = self.sums("listeners", listener=listener)
            self.check_flows(row["NewFlowCount"], book)
            self.assertGreaterEqual(row["ProcessedBytes_FromClient"], book["sent_in_order"])
            self.assertLessEqual(row["ProcessedBytes_FromClient"], book["sent"])
            self.assertGreaterEqual(row["ProcessedBytes_ToClient"], book["got_in_order"])
        self.check_flows(self.sums("workers")["accepted"], total)
        self.check_flows(self.sums("counters")["NewFlowCount"], total)
        row = self.sums("targets", target=address)
        self.assertGreaterEqual(row["NewFlowCount"], total["answered"])
        self.assertLessEqual(row["NewFlowCount"], total["connected"])

    def check_flows(self, counted, book):
        self.assertGreaterEqual(counted, max(book["answered"], book["connected"] - KILLS), book)
        self.assertLessEqual(counted, book["connected"], book)


if __name__ == "__main__":
    harness.main()
