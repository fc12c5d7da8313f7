//! Whatever a member says, well-formed or not: nobody else's connection is closed by it, no other
//! mesh changes, and the others go on.

use broker_min::router::{HttpCall, HttpReply};
use broker_min::store::{BrokerStore, Query, ValueQuery};
use claudemesh_core::id::{Hash, MeshId, MeshSlug, Name};
use claudemesh_core::membership::{Body, Draft, Role};
use claudemesh_core::wire::ClientFrame;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::world::{START, World, hello, hex, key, message, pair};

/// Fields that frames have.
const FIELDS: [&str; 34] = [
    "target",
    "targetSpec",
    "topic",
    "name",
    "id",
    "taskId",
    "stream",
    "key",
    "value",
    "memoryId",
    "scheduledId",
    "query",
    "messageId",
    "_reqId",
    "to",
    "message",
    "deliverAt",
    "cron",
    "limit",
    "offset",
    "beforeId",
    "all",
    "stale",
    "visible",
    "status",
    "label",
    "capabilities",
    "title",
    "data",
    "groups",
    "clientMessageId",
    "brokerMessageId",
    "nonce",
    "ciphertext",
];

#[derive(Debug, Clone)]
enum Step {
    Say(String, Vec<(usize, usize)>),
    Hello {
        session_id: usize,
        session: usize,
        groups: bool,
    },
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let mut kinds: Vec<&str> = ClientFrame::TYPES.to_vec();
    kinds.extend(["vault_list", "mcp_call", "", "push", "hello_ack"]);
    let fields = vec((0..FIELDS.len(), 0..40usize), 0..8);
    prop_oneof![
        12 => (prop::sample::select(kinds), fields)
            .prop_map(|(kind, fields)| Step::Say(kind.to_owned(), fields)),
        2 => (0..40usize, 0..40usize, any::<bool>()).prop_map(|(session_id, session, groups)| {
            Step::Hello { session_id, session, groups }
        }),
        1 => (0..5_000u64).prop_map(Step::Pass),
    ]
}

/// Two meshes of one broker: in the first a member that is not to be trusted, in the other somebody
/// who knows nothing of it.
struct Two {
    world: World,
    other: MeshId,
    /// Connections of others: the owner, an existing client, and in the other mesh its owner.
    victims: [u64; 3],
    attacker: u64,
    /// What an attacker may have heard of.
    heard: Vec<Value>,
}

fn frame_to(world: &mut World, conn: u64, frame: Value) -> Value {
    world.got(conn);
    world.frame(conn, frame);
    world.last(conn)
}

fn enter(world: &mut World, mesh: &MeshId, member: u8, session_id: &str) -> u64 {
    let nonce = world.fresh();
    let mut hello = hello(mesh, member, nonce);
    hello.capabilities = None;
    hello.session_id = Some(session_id.to_owned());
    let mesh = mesh.clone();
    world.enter(hello, |verified| {
        verified.mesh = mesh;
        verified.proven = false;
    })
}

impl Two {
    fn new() -> Self {
        let mut world = World::new();
        let (token, _) = world.invite(90, Role::Member, 50);
        for n in [2, 3] {
            let reply = world.join(&token, n, None);
            assert!(matches!(reply, HttpReply::Joined { .. }), "{reply:?}");
        }
        let first = Draft {
            mesh: None,
            seq: 0,
            prev: Hash::ZERO,
            at: START,
            body: Body::MeshCreated {
                slug: MeshSlug::new("other").unwrap(),
                salt: [8; 32],
                recovery: None,
                name: Name::new("other").unwrap(),
            },
        }
        .sign(&pair(20), None);
        let other = claudemesh_core::membership::Log::begin(&first)
            .unwrap()
            .mesh()
            .clone();
        let reply = world.http(HttpCall::Create { entry: first });
        assert!(matches!(reply, HttpReply::Created { .. }), "{reply:?}");
        let mesh = world.mesh();
        let owner = world.connect(1);
        let third = enter(&mut world, &mesh, 3, "session-of-3");
        let away = enter(&mut world, &other, 20, "session-of-20");
        let mut heard: Vec<Value> = vec![
            json!(hex(1)),
            json!(hex(2)),
            json!(hex(3)),
            json!(hex(20)),
            json!(hex(1)[..8]),
            json!("session-of-3"),
            json!("session-of-20"),
            json!("owner"),
            json!("other"),
            json!("m3"),
            json!("*"),
            json!("@all"),
            json!("@x' OR 1=1"),
            json!("#"),
            json!(""),
            json!(other.as_str()),
            json!(null),
            json!(true),
            json!(-1),
            json!(1e300),
            json!([]),
            json!({}),
            json!(["send", "admin"]),
            json!("admin"),
            json!([null, {"name": 7}]),
            json!("* * * * *"),
            json!("é".repeat(9)),
            json!("x".repeat(3_000)),
            json!(START + 10),
            json!("idle"),
            json!("low"),
            json!({"$sealed": "?"}),
        ];
        for conn in [third, away] {
            let topic = frame_to(
                &mut world,
                conn,
                json!({"type": "topic_create", "name": "t"}),
            );
            let id = topic["topic"]["id"].as_str().unwrap();
            heard.extend([json!(id), json!(format!("#{id}")), json!("t")]);
            let task = frame_to(
                &mut world,
                conn,
                json!({"type": "create_task", "title": "do"}),
            );
            let memory = frame_to(
                &mut world,
                conn,
                json!({"type": "remember", "content": "m"}),
            );
            heard.extend([task["id"].clone(), memory["id"].clone()]);
            world.frame(conn, json!({"type": "set_state", "key": "k", "value": 1}));
            world.frame(conn, json!({"type": "create_stream", "name": "s"}));
            world.frame(conn, json!({"type": "join_group", "name": "g"}));
        }
        let attacker = enter(&mut world, &mesh, 2, "session-of-2");
        Self {
            world,
            other,
            victims: [owner, third, away],
            attacker,
            heard,
        }
    }

    /// All that the broker keeps of the other mesh.
    fn kept(&self) -> String {
        let reader = self.world.store.fork().reader().unwrap();
        let mesh = || self.other.clone();
        let (after, bytes) = (None, 1 << 20);
        let queries = [
            Query::Mesh(mesh()),
            Query::Value(ValueQuery::Items { mesh: mesh() }),
            Query::Value(ValueQuery::States {
                mesh: mesh(),
                after: after.clone(),
                bytes,
            }),
            Query::Value(ValueQuery::Memories {
                mesh: mesh(),
                after,
                bytes,
            }),
            Query::Audit {
                mesh: mesh(),
                from: 0,
                bytes,
            },
        ];
        let all = queries
            .iter()
            .map(|query| format!("{:?}", reader.load(query)));
        all.collect::<Vec<_>>().join("\n")
    }

    fn heard(&self, n: usize) -> Value {
        self.heard[n % self.heard.len()].clone()
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Say(kind, fields) => {
                let named = fields
                    .iter()
                    .map(|(field, value)| (FIELDS[*field].to_owned(), self.heard(*value)));
                let mut frame: Map<String, Value> = named.collect();
                frame.insert("type".to_owned(), kind.as_str().into());
                let text = Value::Object(frame).to_string();
                // What is no frame is refused before it comes so far.
                if let Ok(decoded) = ClientFrame::decode(&text) {
                    let (conn, frame, size) = (self.attacker, Box::new(decoded), text.len());
                    self.world
                        .input(broker_min::router::In::Frame { conn, frame, size });
                }
            }
            Step::Hello {
                session_id,
                session,
                groups,
            } => {
                let (mesh, nonce) = (self.world.mesh(), self.world.fresh());
                let mut hello = hello(&mesh, 2, nonce);
                hello.capabilities = None;
                hello.session_id = self.heard(*session_id).as_str().map(str::to_owned);
                let named = [key(1), key(3), key(20), key(77)][*session % 4];
                hello.session_pubkey = Some(named.to_hex());
                hello.groups = groups.then(|| json!([null, {"name": "g"}, {"name": [1]}]));
                let conn = self.world.enter(hello, |verified| verified.proven = false);
                if !self.world.closed.contains_key(&conn) {
                    self.attacker = conn;
                }
            }
            Step::Pass(ms) => self.world.pass(*ms),
        }
        if self.world.closed.contains_key(&self.attacker) {
            let mesh = self.world.mesh();
            self.attacker = enter(&mut self.world, &mesh, 2, "session-of-2");
        }
    }
}

fn run(steps: &[Step]) {
    let mut two = Two::new();
    let before = two.kept();
    for step in steps {
        two.step(step);
        for victim in two.victims {
            let closed = two.world.closed.get(&victim);
            assert!(closed.is_none(), "{closed:?} after {step:?}");
        }
    }
    assert_eq!(two.kept(), before);
    // Everybody goes on.
    let [owner, third, away] = two.victims;
    let mut ask = message(&hex(3), "still here", "now");
    ask["form"] = Value::Null;
    two.world.got(third);
    let ack = two.world.say_frame(owner, ask);
    assert_eq!(ack["queued"], true, "{ack}");
    assert!(two.world.texts(third).contains(&"still here".to_owned()));
    let list = frame_to(&mut two.world, away, json!({"type": "list_peers"}));
    assert_eq!(list["peers"].as_array().unwrap().len(), 1, "{list}");
    let bans = frame_to(&mut two.world, third, json!({"type": "list_bans"}));
    assert_eq!(bans["bans"], json!([]));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_frame_of_a_member_touches_another_one(steps in vec(step(), 0..60)) {
        run(&steps);
    }
}

#[test]
fn another_meshs_topic_and_session_gain_nothing() {
    let mut two = Two::new();
    let before = two.kept();
    let topics: Vec<Value> = (two.heard.iter())
        .filter(|it| it.as_str().is_some_and(|it| it.len() == 33))
        .cloned()
        .collect();
    let theirs = topics.last().unwrap().as_str().unwrap().to_owned();
    let attacker = two.attacker;
    let ack = two.world.say(attacker, &theirs, "x", "now");
    assert_eq!(ack["code"], "not_found", "{ack}");
    let ask = json!({"type": "topic_history", "topic": theirs.trim_start_matches('#')});
    let answer = frame_to(&mut two.world, attacker, ask);
    assert_eq!(answer["code"], "topic_not_found", "{answer}");
    let ack = two.world.say(attacker, &hex(20), "x", "now");
    assert_eq!(ack["code"], "not_found", "{ack}");
    assert_eq!(two.kept(), before);
}
