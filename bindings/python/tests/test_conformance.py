"""The tests of bindings/conformance.json."""

import asyncio
import gc
import json
import os
import pathlib
import time
import weakref
from datetime import datetime, timedelta, timezone

import pytest

import claudemesh
from claudemesh import Attention, Config, MeshError, MeshEvent, Priority, Role, SendProgress
from claudemesh import _native as native
from claudemesh.testing import TestMesh

ROOT = pathlib.Path(os.environ["CLAUDEMESH_REPOSITORY"])
LIST = json.loads((ROOT / "bindings/conformance.json").read_text())
OURS, INTEROP = (json.loads((ROOT / path).read_text()) for path in LIST["vectors"])


async def fails(code, work):
    with pytest.raises(MeshError) as caught:
        await work
    assert caught.value.code == code, caught.value
    assert " " in caught.value.text
    return caught.value


def fails_now(code, work, *args):
    with pytest.raises(MeshError) as caught:
        work(*args)
    assert caught.value.code == code, caught.value


class App:
    """An app in a folder of its own, that has joined."""

    def __init__(self, config, mesh, peer):
        self.config, self.mesh, self.peer = config, mesh, peer

    @classmethod
    async def join(cls, mesh, folder, name="ana", **options):
        config = await Config.open(folder / name)
        joined = await config.join(await mesh.invite(), name)
        peer = await config.connect(joined.slug, **options)
        await peer.connected()
        return cls(config, joined, peer)


async def within(work, seconds=20):
    return await asyncio.wait_for(work, seconds)


def seconds(unix):
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=unix)


async def vectors(_mesh, _folder):
    for case in INTEROP["sas"]["cases"]:
        if case["expect"] == "ok":
            assert claudemesh.safety_number(case["a_hex"], case["b_hex"]) == case["sas"]
            assert claudemesh.safety_number(case["b_hex"], case["a_hex"]) == case["sas"]
    for case in OURS["invite"]["accept"]:
        offer = claudemesh.read_invite(case["link"], seconds(case["now_s"]))
        if "token" not in case:
            continue
        assert (offer.slug, offer.mesh_id) == (case["mesh_slug"], case["mesh_id"])
        assert offer.broker == case["broker_url"]
        assert offer.issuer == OURS["keys"][case["issuer"]]["public_hex"]
        assert offer.admin == (case["role"] == "admin")
        assert claudemesh.parse_link(case["link"]).invite_id == case["invite_id_hex"]
        legacy = claudemesh.read_invite(case["legacy_link"], seconds(case["now_s"]))
        assert offer.verified and not legacy.verified
    codes = {"Expired": "invite_expired", "Signature": "invite_signature"}
    for case in OURS["invite"]["reject"]:
        with pytest.raises(MeshError) as caught:
            claudemesh.read_invite(case["link"], seconds(case["now_s"]))
        assert caught.value.code == codes.get(case["reason"], "invite_invalid"), case["id"]
    for name in ("log", "log_kinds"):
        log = OURS[name]
        entries = [entry(case) for case in log["accept"]]
        members = {m.key: m for m in claudemesh.verify_log(log["mesh_id"], entries)}
        for wanted in log["roster"]:
            found = members.pop(wanted["key_hex"])
            assert found.name == wanted["name"]
            assert found.role.name.lower() == wanted["role"]
            assert found.removed == (wanted["removed_at"] is not None)
        assert not members
        for case in log["reject"]:
            before = entries[: case["after"]]
            with pytest.raises(MeshError):
                claudemesh.verify_log(log["mesh_id"], [*before, entry(case)])
        first = log["accept"][0]
        signed = bytes.fromhex(first["entry_hex"])
        assert claudemesh.verify_signature(first["signer_hex"], signed, first["sig_hex"])
        assert not claudemesh.verify_signature(first["signer_hex"], signed + b"x", first["sig_hex"])


def entry(case):
    cosig = case["cosig_hex"]
    return claudemesh.LogEntryBytes(
        entry=bytes.fromhex(case["entry_hex"]),
        signature=bytes.fromhex(case["sig_hex"]),
        cosignature=bytes.fromhex(cosig) if cosig else None,
    )


async def join_by_link(mesh, folder):
    link = await mesh.invite()
    offered = await claudemesh.preview_invite(link)
    assert offered.mesh_id == mesh.mesh_id and offered.verified
    config = await Config.open(folder)
    joined = await config.join(link, "ana")
    assert (joined.mesh_id, joined.display_name, joined.has_log) == (mesh.mesh_id, "ana", True)
    again = await config.join(link, "ana")
    assert again.key == joined.key
    reopened = await Config.open(folder)
    assert [m.key for m in reopened.meshes] == [joined.key]
    await mesh.await_member("ana")


async def config_as_bytes(mesh, folder):
    config = Config.in_memory()
    joined = await config.join(await mesh.invite(), "ana")
    kept = config.to_bytes()
    restored = Config.from_bytes(kept)
    async with await restored.connect(joined.slug, data_folder=folder / "messages") as peer:
        assert peer.key == joined.key
        await (await peer.send("owner", "from the keychain")).accepted()
    assert (await mesh.receive("owner"))["text"] == "from the keychain"
    assert (folder / "messages").is_dir()


async def messages_both_ways(mesh, folder):
    rust = await mesh.key("rust")
    app = await App.join(mesh, folder)
    async with app.peer as peer:
        receipt = await peer.send("rust", "hello")
        assert await within(receipt.accepted()) == 1
        got = await mesh.receive("rust")
        assert (got["text"], got["sender"], got["sender_name"]) == ("hello", peer.key, "ana")
        assert got["verified"] and got["id"] == receipt.id
        await within(receipt.delivered())
        assert receipt.state == SendProgress.DELIVERED and receipt.reason is None
        await mesh.send("rust", "ana", "hello yourself")
        async with peer.messages() as messages:
            answer = await within(messages.next())
            assert (answer.text, answer.sender, answer.verified) == ("hello yourself", rust, True)
            assert answer.sender_name == "rust" and not answer.again
            await peer.reply(answer, "thanks")
        got = await mesh.receive("rust")
        assert (got["text"], got["reply_to"]) == ("thanks", answer.id)
        sent = await peer.send(rust, b"\x00\xff", content_type="image/x", priority=Priority.NOW)
        await within(sent.delivered())


async def offline_delivery(mesh, folder):
    app = await App.join(mesh, folder)
    await app.peer.shutdown()
    for n in range(5):
        await mesh.send("rust", "ana", f"while away {n}")
    async with await app.config.connect(app.mesh.slug) as peer:
        messages = peer.messages()
        texts = [(await within(messages.next())).text for _ in range(5)]
        assert texts == [f"while away {n}" for n in range(5)]
        await mesh.ask("stop_broker")
        receipt = await peer.send("rust", "the broker is down")
        assert receipt.state == SendProgress.QUEUED
        await mesh.ask("start_broker")
        await within(receipt.accepted(), 40)
    assert (await mesh.receive("rust"))["text"] == "the broker is down"


async def fetch_once(mesh, folder):
    app = await App.join(mesh, folder)
    await app.peer.shutdown()
    await mesh.send("rust", "ana", "one")
    await mesh.send("rust", "ana", "two")
    fetched = await app.config.fetch_once(app.mesh.slug, 10)
    assert fetched.complete and [m.text for m in fetched.unread] == ["one", "two"]
    await mesh.ask("stop_broker")
    began = time.monotonic()
    fetched = await app.config.fetch_once(app.mesh.slug, 1)
    assert time.monotonic() - began < 5
    assert not fetched.complete and fetched.reason
    assert [m.text for m in fetched.unread] == ["one", "two"]


async def topics(mesh, folder):
    await mesh.key("rust")
    app = await App.join(mesh, folder)
    async with app.peer as peer:
        await peer.create_channel("#plans")
        assert [c.name for c in peer.channels()] == ["#plans"]
        await mesh.ask("join_channel", **{"as": "rust"}, channel="#plans")
        view = await peer.channel("#plans")
        assert {m.key: m.lead for m in view.members} == {
            peer.key: True,
            await mesh.key("rust"): False,
        }
        await within((await peer.send("#plans", "to the topic")).delivered())
        got = await mesh.receive("rust")
        assert (got["text"], got["channel"]) == ("to the topic", "#plans")
        await mesh.send("rust", "#plans", "and back")
        back = await within(peer.messages().next())
        assert (back.text, back.channel) == ("and back", "#plans")
        page = await peer.channel_history("#plans")
        assert [i.message.text for i in page.items] == ["and back", "to the topic"]
        await peer.leave_channel("#plans")
        await fails("not_in_channel", peer.send("#plans", "still there?"))


async def members_and_trust(mesh, folder):
    await mesh.key("rust")
    app = await App.join(mesh, folder)
    async with app.peer as peer:
        roles = {m.name: m.role for m in peer.members()}
        assert roles["owner"] == Role.OWNER and roles["ana"] == Role.MEMBER
        rust = await peer.resolve("rust")
        assert rust == await mesh.key("rust")
        assert peer.safety_number(rust) == claudemesh.safety_number(rust, peer.key)
        await peer.set_status(Attention.WORKING)
        await peer.set_summary("tests things")
        async def seen():
            while True:
                me = next(p for p in await peer.peers() if p.key == peer.key)
                if me.summary == "tests things" and me.status == Attention.WORKING:
                    return me
                await asyncio.sleep(0.05)
        me = await within(seen())
        assert me.online and me.verified and me.summary_protected
        await fails("not_allowed", peer.invite())
    config = await Config.open(folder / "maker")
    made = await config.create_mesh("mine", mesh.broker, "maker")
    assert len(made.recovery_key) == 128
    async with await config.connect("mine") as owner:
        invite = await owner.invite(uses=2)
        guest = await Config.open(folder / "guest")
        await guest.join(invite.link, "guest")
        await owner.sync()
        assert {m.name for m in owner.members()} == {"maker", "guest"}
        assert [len(i.used_by) for i in owner.invites()] == [1]
        await owner.close_invite(invite.id)
        late = await Config.open(folder / "late")
        error = await fails("invite_closed", late.join(invite.link, "late"))
        assert not error.retryable


async def state_and_memories(mesh, folder):
    app = await App.join(mesh, folder)
    async with app.peer as peer:
        assert await peer.state("color") is None
        assert await peer.set_state("color", '"red"', if_version=0) == 1
        assert (await peer.state("color")).value == '"red"'
        error = await fails("state_conflict", peer.set_state("color", '"blue"', if_version=0))
        assert error.detail == "1"
        assert await peer.set_state("color", '"blue"', if_version=1) == 2
        assert [(v.name, v.protected) for v in await peer.list_state()] == [("color", True)]
        kept = await peer.remember("the door code is in the blue book", ["door"])
        assert [m.name for m in await peer.recall("DOOR book")] == [kept]
        await peer.forget(kept)
        assert await peer.recall() == []
        due = datetime.now(timezone.utc) + timedelta(hours=1)
        later = await peer.schedule("owner", "later", due)
        assert abs((later.due - due).total_seconds()) < 1
        assert [s.id for s in await peer.schedules()] == [later.id]
        assert await peer.cancel_schedule(later.id)


async def removed_member(mesh, folder):
    await mesh.key("rust")
    app = await App.join(mesh, folder)
    async with app.peer as peer:
        events = peer.events()
        await mesh.remove("rust")
        await peer.sync()
        key = next(m.key for m in peer.members(former=True) if m.name == "rust")
        await fails("recipient_removed", peer.send(key, "are you there?"))
        await mesh.remove("ana")
        async def told():
            async for event in events:
                if event.is_REMOVED():
                    return
        await within(told())
        await fails("removed", peer.connected())
        await fails("removed", peer.send("owner", "let me in"))


async def errors(mesh, folder):
    fails_now("invite_invalid", claudemesh.parse_link, "what?")
    fails_now("invalid_argument", claudemesh.safety_number, "xy", "xy")
    fails_now("config_invalid", Config.from_bytes, b"{")
    config = Config.in_memory()
    await fails("no_such_mesh", config.connect("none"))
    await fails("invalid_argument", config.create_mesh("x", "ftp://x", "ana"))
    await fails("unreachable", config.create_mesh("x", "ws://127.0.0.1:9/ws", "ana"))
    link = await mesh.invite()
    await config.join(link, "ana")
    await fails("invite_used_up", Config.in_memory().join(link, "eve"))
    async with await config.connect("test") as peer:
        await peer.connected()
        await fails("unknown_recipient", peer.send("nobody", "hi"))
        await fails("message_too_large", peer.send("owner", "x" * 50_000))
        await fails("no_such_channel", peer.send("#nowhere", "hi"))
        await fails("invalid_argument", peer.schedule_repeated("owner", "hi", "not cron"))
        await fails("not_allowed", peer.remove(await mesh.key("owner")))
        reader = peer.messages()
        await asyncio.wait([asyncio.ensure_future(reader.next())], timeout=0.3)
        await fails("already_reading", peer.messages().next())
        await mesh.ask("stop_broker")
        error = await fails("not_connected", peer.state("x"))
        assert error.retryable
    await fails("closed", peer.send("owner", "hi"))


async def cancellation(mesh, folder):
    app = await App.join(mesh, folder)
    async with app.peer as peer:
        messages = peer.messages()
        for n in range(20):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(messages.next(), 0.005)
            await mesh.send("rust", "ana", f"after {n}")
            assert (await within(messages.next())).text == f"after {n}"
        receipt = await peer.send("rust", "hi")
        token = native.CancelToken()
        token.cancel()
        await mesh.ask("stop_broker")
        waiting = await peer.send("rust", "hi again")
        with pytest.raises(native.NativeError.Failed) as caught:
            await waiting._native.accepted(token)
        assert caught.value.code == "cancelled"
        task = asyncio.ensure_future(waiting.accepted())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await mesh.ask("start_broker")
        await within(waiting.accepted(), 40)
        await within(receipt.accepted())


async def events(mesh, folder):
    config = await Config.open(folder)
    joined = await config.join(await mesh.invite(), "ana")
    peer = await config.connect(joined.slug)
    seen = []
    async def watch():
        async for event in peer.events():
            seen.append(type(event).__name__.split(".")[-1])
    task = asyncio.ensure_future(watch())
    await within(peer.caught_up())
    await mesh.key("rust")
    await peer.sync()
    await mesh.ask("drop_connections")
    async def all_seen():
        while not {"RECONNECTING", "MEMBER_JOINED"} <= set(seen):
            await asyncio.sleep(0.02)
    await within(all_seen())
    await peer.connected(30)
    await peer.shutdown()
    await within(task)


async def thousand_messages(mesh, folder):
    await mesh.key("rust")
    app = await App.join(mesh, folder)
    async with app.peer as peer:
        for n in range(1000):
            last = await peer.send("rust", f"to {n}")
        await within(last.accepted(), 120)
        texts = await mesh.ask("receive_many", **{"as": "rust"}, count=1000)
        assert texts == [f"to {n}" for n in range(1000)]
        await mesh.ask("send_many", **{"from": "rust"}, to="ana", count=1000)
        got = []
        async def read():
            async for message in peer.messages():
                got.append(message.text)
                if len(got) == 1000:
                    return
        await within(read(), 120)
        assert got == [f"number {n}" for n in range(1000)]


async def shutdown_and_reopen(mesh, folder):
    app = await App.join(mesh, folder, session="app")
    await mesh.send("rust", "ana", "first")
    await mesh.send("rust", "ana", "second")
    messages = app.peer.messages()
    assert (await within(messages.next())).text == "first"
    await messages.taken()
    assert (await within(messages.next())).text == "second"
    await app.peer.shutdown()
    await app.peer.shutdown()
    del messages
    await fails("closed", app.peer.sync())
    async with await app.config.connect(app.mesh.slug, session="app") as peer:
        await mesh.send("rust", "ana", "third")
        messages = peer.messages()
        for text, again in [("second", True), ("third", False)]:
            shown = await within(messages.next())
            assert (shown.text, shown.again) == (text, again)


class Listener(native.MessageListener):
    def __init__(self):
        self.count = 0
        self.ended = 0

    def on_message(self, message):
        self.count += 1

    def on_end(self, code):
        self.ended += 1


class EventListener(native.EventListener):
    def on_event(self, event):
        self.last = event

    def on_end(self, code):
        pass


async def callbacks_leak_nothing(mesh, folder):
    app = await App.join(mesh, folder)
    async with app.peer as peer:
        listener = Listener()
        gone = weakref.ref(listener)
        subscription = await peer._native.listen_for_messages(listener)
        for _ in range(10):
            before = listener.count
            await mesh.ask("send_many", **{"from": "rust"}, to="ana", count=1000)
            async def all_here():
                while listener.count < before + 1000:
                    await asyncio.sleep(0.01)
            await within(all_here(), 120)
        assert listener.count == 10_000
        subscription.cancel()
        await within(subscription.ended(None))
        await mesh.send("rust", "ana", "after the cancel")
        await peer.flush()
        assert (listener.count, listener.ended, subscription.is_active()) == (10_000, 0, False)
        del listener, subscription
        kept = []
        for n in range(1000):
            other = EventListener()
            kept.append(weakref.ref(other))
            handle = peer._native.listen_for_events(other)
            if n % 2:
                handle.cancel()
            del handle, other
        async def all_gone():
            while gone() or any(ref() for ref in kept):
                gc.collect()
                await asyncio.sleep(0.02)
        await within(all_gone())


@pytest.mark.parametrize("case", LIST["tests"], ids=lambda case: case["id"])
def test_conformance(case, tmp_path):
    test = globals()[case["id"]]

    async def run():
        async with await TestMesh.start() as mesh:
            await test(mesh, tmp_path)

    asyncio.run(asyncio.wait_for(run(), 300))
