//! Two or three node ports in one process, on real sockets.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn certify(&self, name: String) -> NodeTls {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![name]).unwrap().signed_by(&key, &self.0).unwrap();
        NodeTls { ca_pem: self.0.pem(), cert_pem: cert.pem(), key_pem: key.serialize_pem() }
    }

    fn node(&self, node: u64, region: u16, zone: &str) -> NetSettings {
        NetSettings {
            node: NodeId(node),
            region: RegionId(region),
            zone: zone.into(),
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: self.certify(node_san("test", NodeId(node))),
            cluster: "test".into(),
        }
    }
}

/// Answers with the body; a body that begins with "wait" is answered after a pause, "stuck" never.
#[derive(Default)]
struct Echo {
    stuck: Arc<AtomicUsize>,
}

impl Service for Echo {
    fn call(&self, _from: Peer, body: Bytes) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let stuck = self.stuck.clone();
        Box::pin(async move {
            if body.starts_with(b"wait") {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            if body.starts_with(b"stuck") {
                stuck.fetch_add(1, Ordering::AcqRel);
                std::future::pending::<()>().await;
            }
            if body.starts_with(b"refuse") {
                return Err(CallError::Refused("as asked".into()));
            }
            Ok(body)
        })
    }
}

async fn start(settings: NetSettings) -> Net {
    let net = Net::start(settings).await.unwrap();
    net.serve(ServiceId::Group, Arc::new(Echo::default()));
    net
}

/// A call to `b` that hangs there, in a task of its own; returned once it has arrived.
async fn hang(a: &Net, b: &Net) -> JoinHandle<Result<Bytes, CallError>> {
    let stuck = Arc::new(AtomicUsize::new(0));
    b.serve(ServiceId::Link, Arc::new(Echo { stuck: stuck.clone() }));
    let (a, to) = (a.clone(), b.node());
    let caller =
        tokio::spawn(async move { a.call(to, ServiceId::Link, "stuck".into(), LIMIT).await });
    let begun = Instant::now();
    while stuck.load(Ordering::Acquire) == 0 {
        assert!(begun.elapsed() < LIMIT, "the call did not arrive");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    caller
}

async fn pair(authority: &Authority) -> (Net, Net) {
    let a = start(authority.node(1, 1, "a")).await;
    let b = start(authority.node(2, 2, "b")).await;
    a.learn(b.me());
    b.learn(a.me());
    (a, b)
}

const LIMIT: Duration = Duration::from_secs(10);

async fn echo(net: &Net, to: u64, body: &'static [u8]) -> Result<Bytes, CallError> {
    net.call(NodeId(to), ServiceId::Group, Bytes::from_static(body), LIMIT).await
}

/// Repeats until the call is answered, as callers do while a peer starts.
async fn echo_until_ok(net: &Net, to: u64) {
    let begun = Instant::now();
    while let Err(error) = echo(net, to, b"hello").await {
        assert!(begun.elapsed() < LIMIT, "still {error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_answered_in_place_later_and_here() {
    let (a, b) = pair(&Authority::new()).await;
    assert_eq!(echo(&a, 2, b"hello").await.unwrap(), "hello");
    assert_eq!(echo(&a, 2, b"wait").await.unwrap(), "wait");
    assert_eq!(echo(&b, 1, b"back").await.unwrap(), "back");
    assert_eq!(echo(&a, 1, b"self").await.unwrap(), "self");
    assert_eq!(echo(&a, 2, b"refuse").await, Err(CallError::Refused("as asked".into())));
    assert!(matches!(echo(&a, 9, b"x").await, Err(CallError::Unreachable(_))));
    let nobody = a.call(NodeId(2), ServiceId::Stream, Bytes::new(), LIMIT).await;
    assert!(matches!(nobody, Err(CallError::Unreachable(_))));
    a.shutdown().await;
    b.shutdown().await;
    assert!(matches!(echo(&a, 2, b"x").await, Err(CallError::Unreachable(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_share_frames() {
    let (a, b) = pair(&Authority::new()).await;
    echo_until_ok(&a, 2).await;
    let frames_before = metrics::FRAMES.data.sent.get();
    let body = Bytes::from(vec![7u8; 1024]);
    let (tasks, each) = (64, 300);
    let begun = Instant::now();
    let callers: Vec<_> = (0..tasks)
        .map(|_| {
            let (a, body) = (a.clone(), body.clone());
            tokio::spawn(async move {
                for _ in 0..each {
                    let call = a.call(NodeId(2), ServiceId::Group, body.clone(), LIMIT);
                    assert_eq!(call.await.unwrap().len(), 1024);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let calls = tasks * each;
    let frames = metrics::FRAMES.data.sent.get() - frames_before;
    println!(
        "{} calls/s, {:.1} items per frame",
        (f64::from(calls) / begun.elapsed().as_secs_f64()) as u64,
        f64::from(2 * calls) / frames as f64
    );
    assert!(frames < calls as u64, "requests and answers must share frames: {frames}");
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_up_to_the_limit_pass_and_larger_ones_are_refused() {
    let (a, b) = pair(&Authority::new()).await;
    for size in [wire::BODY_BYTES_MAX, 3 << 20, 0] {
        let body = Bytes::from(vec![1u8; size]);
        let call = a.call(NodeId(2), ServiceId::Group, body.clone(), LIMIT).await;
        assert_eq!(call.unwrap().len(), size);
    }
    let body = Bytes::from(vec![1u8; wire::BODY_BYTES_MAX + 1]);
    let call = a.call(NodeId(2), ServiceId::Group, body, LIMIT).await;
    assert!(matches!(call, Err(CallError::Refused(_))));
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_a_call_and_a_stop_tells_lost() {
    let authority = Authority::new();
    let (a, b) = pair(&authority).await;
    let stuck = || a.call(NodeId(2), ServiceId::Group, "stuck".into(), Duration::from_millis(100));
    let begun = Instant::now();
    assert_eq!(stuck().await, Err(CallError::Timeout));
    assert!(begun.elapsed() < Duration::from_secs(2));
    let caller = hang(&a, &b).await;
    b.shutdown().await;
    assert!(matches!(caller.await.unwrap(), Err(CallError::Lost(_))));

    // The peer comes back elsewhere: calls reach it again.
    let b = start(authority.node(2, 2, "b")).await;
    a.learn(b.me());
    echo_until_ok(&a, 2).await;
    // And again at the same address.
    let mut settings = authority.node(2, 2, "b");
    settings.listen = b.local_addr();
    b.shutdown().await;
    drop(b);
    let b = loop {
        match Net::start(settings.clone()).await {
            Ok(net) => break net,
            Err(NetError::Listen { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    };
    b.serve(ServiceId::Group, Arc::new(Echo::default()));
    echo_until_ok(&a, 2).await;
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consensus_messages_arrive_in_order() {
    let (a, b) = pair(&Authority::new()).await;
    let next = Arc::new(AtomicU64::new(0));
    let count = Arc::new(AtomicUsize::new(0));
    let (seen, counted) = (next.clone(), count.clone());
    b.on_frame(Arc::new(move |from, frame| {
        assert_eq!(from, NodeId(1));
        let number = u64::from_be_bytes(frame[..8].try_into().unwrap());
        assert!(number >= seen.load(Ordering::Acquire), "out of order");
        seen.store(number + 1, Ordering::Release);
        counted.fetch_add(1, Ordering::AcqRel);
    }));
    for number in 0..10_000u64 {
        a.send(NodeId(2), Bytes::from(number.to_be_bytes().to_vec()));
    }
    let begun = Instant::now();
    while next.load(Ordering::Acquire) < 10_000 {
        assert!(begun.elapsed() < LIMIT, "only {} arrived", count.load(Ordering::Acquire));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(count.load(Ordering::Acquire), 10_000, "nothing was lost on a live stream");
    a.send(NodeId(77), Bytes::new());
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_tears_down_and_heals() {
    let (a, b) = pair(&Authority::new()).await;
    echo_until_ok(&a, 2).await;
    // Only the callee is told: the stream ends all the same.
    let caller = hang(&a, &b).await;
    b.faults().cut(RegionId(2), None);
    assert!(matches!(caller.await.unwrap(), Err(CallError::Lost(_))));
    assert!(matches!(echo(&a, 2, b"x").await, Err(CallError::Unreachable(_))));
    b.faults().heal();
    echo_until_ok(&a, 2).await;
    // Only the caller is told.
    a.faults().cut(RegionId(1), Some("a".into()));
    assert!(matches!(echo(&a, 2, b"x").await, Err(CallError::Unreachable(_))));
    assert!(matches!(echo(&b, 1, b"x").await, Err(CallError::Unreachable(_))));
    a.faults().heal();
    echo_until_ok(&a, 2).await;
    echo_until_ok(&b, 1).await;
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_between_regions_is_kept() {
    let (a, b) = pair(&Authority::new()).await;
    echo_until_ok(&a, 2).await;
    a.faults().set_delay_ms(RegionId(2), 80);
    b.faults().set_delay_ms(RegionId(1), 80);
    let begun = Instant::now();
    echo(&a, 2, b"slow").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(160), "{:?}", begun.elapsed());
    a.faults().set_delay_ms(RegionId(2), 0);
    b.faults().set_delay_ms(RegionId(1), 0);
    echo(&a, 2, b"fast").await.unwrap();
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_right_certificate_opens_a_stream() {
    let authority = Authority::new();
    let b = start(authority.node(2, 2, "b")).await;
    let wrong = [
        ("another authority", Authority::new().certify(node_san("test", NodeId(1)))),
        ("a client", authority.certify("client.example".into())),
        ("another node", authority.certify(node_san("test", NodeId(3)))),
        ("another cluster", authority.certify(node_san("prod", NodeId(1)))),
    ];
    for (who, tls) in wrong {
        let mut settings = authority.node(1, 1, "a");
        settings.tls = NodeTls { ca_pem: authority.0.pem(), ..tls };
        let a = start(settings).await;
        a.learn(b.me());
        let call = echo(&a, 2, b"x").await;
        assert!(matches!(call, Err(CallError::Unreachable(_))), "{who}: {call:?}");
        a.shutdown().await;
    }
    // And the dialling side wants to meet the node it dialled.
    let a = start(authority.node(1, 1, "a")).await;
    a.learn(Peer { node: NodeId(4), ..b.me() });
    assert!(matches!(echo(&a, 4, b"x").await, Err(CallError::Unreachable(_))));
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_replaced_while_it_runs() {
    let (old, new) = (Authority::new(), Authority::new());
    let (a, b) = pair(&old).await;
    echo_until_ok(&a, 2).await;
    let nonsense = NodeTls { cert_pem: "no".into(), ..old.certify("x".into()) };
    assert!(matches!(a.reload(&nonsense), Err(NetError::Tls(_))));
    // Open streams go on, and whoever knows only the old authority no longer gets in.
    b.reload(&new.certify(node_san("test", NodeId(2)))).unwrap();
    assert_eq!(echo(&a, 2, b"open").await.unwrap(), "open");
    let late = start(old.node(3, 1, "c")).await;
    late.learn(b.me());
    assert!(matches!(echo(&late, 2, b"x").await, Err(CallError::Unreachable(_))));
    // With the new certificate it does, and dialling uses it too.
    late.reload(&new.certify(node_san("test", NodeId(3)))).unwrap();
    echo_until_ok(&late, 2).await;
    b.learn(late.me());
    echo_until_ok(&b, 3).await;
    for net in [a, b, late] {
        net.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_port_harms_nobody() {
    let authority = Authority::new();
    let (a, b) = pair(&authority).await;
    for seed in 0..30u8 {
        let mut socket = tokio::net::TcpStream::connect(b.local_addr()).await.unwrap();
        let bytes: Vec<u8> = (0..2000u32).map(|n| (n as u8).wrapping_mul(seed) ^ seed).collect();
        // The port may hang up at any byte.
        let _ = socket.write_all(&bytes).await;
        let _ = socket.shutdown().await;
        let _ = socket.read_to_end(&mut Vec::new()).await;
    }
    echo_until_ok(&a, 2).await;

    // A node of the cluster that speaks, but not our protocol.
    let tls = authority.certify(node_san("test", NodeId(1)));
    let channel = tonic::transport::Endpoint::from_shared(format!("https://{}", b.local_addr()))
        .unwrap()
        .tls_config(
            ClientTlsConfig::new()
                .identity(Identity::from_pem(&tls.cert_pem, &tls.key_pem))
                .ca_certificate(Certificate::from_pem(&tls.ca_pem))
                .domain_name(node_san("test", NodeId(2))),
        )
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = wire::NodePortClient::new(channel);
    let hello =
        wire::Hello { version: 1, cluster: "test".into(), region: 1, node: 1, zone: "a".into() };
    let refused = [
        wire::Frame { hello: None, items: vec![wire::consensus_item(Bytes::new())] },
        wire::Frame { hello: Some(wire::Hello { version: 2, ..hello.clone() }), items: vec![] },
        wire::Frame { hello: Some(wire::Hello { region: 70_000, ..hello.clone() }), items: vec![] },
    ];
    for frame in refused {
        let answer = client.data(futures::stream::iter([frame])).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    // A damaged call is refused, unexecuted; the next one on the stream is answered.
    let mut damaged =
        wire::request_item(1, ServiceId::Group as u32, 1000, Bytes::from_static(b"x"));
    damaged.body = Bytes::from_static(b"y");
    let frames = [
        wire::Frame { hello: Some(hello), items: vec![] },
        wire::Frame { hello: None, items: vec![damaged] },
        wire::Frame {
            hello: None,
            items: vec![
                wire::request_item(2, 99, 1000, Bytes::new()),
                wire::request_item(3, ServiceId::Group as u32, 1000, Bytes::from_static(b"ok")),
            ],
        },
    ];
    let open = futures::StreamExt::chain(futures::stream::iter(frames), futures::stream::pending());
    let mut answers = client.data(open).await.unwrap().into_inner();
    let mut items = Vec::new();
    while items.len() < 3 {
        items.extend(answers.message().await.unwrap().unwrap().items);
    }
    let outcomes: Vec<_> = items.into_iter().map(wire::answer_of).collect();
    assert!(matches!(outcomes[0], Err(CallError::Unreachable(_))));
    assert!(matches!(outcomes[1], Err(CallError::Unreachable(_))));
    assert_eq!(outcomes[2], Ok(Bytes::from_static(b"ok")));
    a.shutdown().await;
    b.shutdown().await;
}
