use super::*;

#[test]
fn a_local_audience_is_of_loopback_in_every_form() {
    for (ip, local) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("::ffff:127.8.0.1", true),
        ("10.0.0.1", false),
        ("2001:db8::1", false),
    ] {
        let ip: IpAddr = ip.parse().unwrap();
        assert_eq!(Audience::Local.includes(ip), local, "{ip}");
        assert!(Audience::All.includes(ip) && !Audience::None.includes(ip));
    }
}
