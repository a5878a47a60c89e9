//! Requests that two readers could read in two ways.

use std::{io::Write as _, time::Duration};

use crate::rig::{DOORS, Rig, to_the_end};

/// RFC 9112, 6.1: what follows on such a connection may be somebody else's.
#[test]
fn a_length_beside_a_transfer_encoding_ends_the_connection() {
    let rig = Rig::start();
    for door in DOORS {
        let question = rig.question(door, "keep-alive");
        let hidden = question.clone();
        for lengths in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        ] {
            let request = question.replace("\r\n\r\n", &format!("\r\n{lengths}\r\n"));
            let mut stream = rig.connect(door);
            write!(stream, "{request}0\r\n\r\n{hidden}").unwrap();
            let answers = to_the_end(&mut *stream);
            assert_eq!(
                answers.matches("HTTP/1.1 ").count(),
                1,
                "{door:?}: {answers}"
            );
        }
        // Without it the connection is kept.
        let mut stream = rig.connect(door);
        write!(stream, "{question}{hidden}").unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let mut both = [0; 1 << 16];
        let read = stream.read(&mut both).unwrap();
        let answers = String::from_utf8_lossy(&both[..read]).into_owned();
        assert!(answers.contains("HTTP/1.1 200"), "{door:?}: {answers}");
    }
}
