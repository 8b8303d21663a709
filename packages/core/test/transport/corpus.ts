// Responses as a server could send them, as latin1 text. What is `valid` must be told as it stands, what is `malformed` refused.

const ok = 'HTTP/1.1 200 OK\r\n'
const chunked = `${ok}Transfer-Encoding: chunked\r\n\r\n`

/** Complete with the bytes given; the last ones when the connection ends. */
export const valid: readonly string[] = [
  `${ok}Content-Length: 5\r\n\r\nhello`,
  'HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n',
  'HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n',
  `${chunked}5;a;b="x\\"y";c=d\r\nhello\r\n0;last\r\n\r\n`,
  `${ok}Transfer-Encoding: ChunKed\r\n\r\n1\r\nx\r\n0\r\nA: 1\r\nB: 2\r\nA: 3\r\n\r\n`,
  'HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No\r\n\r\n',
  'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 1\r\n\r\nx',
  'HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: "x"\r\n\r\n',
  'HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n',
  'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n',
  'HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n',
  'HTTP/1.1 799 Odd\r\nContent-Length: 2\r\n\r\nok',
  `${ok}Set-Cookie: a\r\nSet-Cookie: b\r\nX:\r\nY: \t \r\nZ:\ta\tb \r\nContent-Length: 0\r\n\r\n`,
  `${ok}X-Latin: \xe4\xf6\xfc\xff\r\nContent-Length: 3\r\n\r\n\xe4\0\n`,
  `${ok}X-Long: ${'y'.repeat(8000)}\r\nContent-Length: 1\r\n\r\nx`,
  `${ok}Connection: close\r\n\r\nuntil the end`,
  'HTTP/1.0 200 OK\r\nSet-Cookie: a\r\nSet-Cookie:\tb \r\n\r\nuntil the end',
  'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx'
]

const sizes = ['-1', '0x5', '5 5', ' 5', '5\n', 'g', '', '5;\0', '5 x', '+5', '11111111111111', '5\r', '5;', '5; a', '5;a=', '5;a="', '5;=b', '5 ;a', '5\t', '5;a="\x7f"']

/** To be refused as soon as the bytes are seen. */
export const malformed: readonly string[] = [
  // Status line.
  'HTP/1.1 200 OK\r\n\r\n', 'HTTP/2.0 200 OK\r\n\r\n', 'HTTP/1.2 200 OK\r\n\r\n', 'http/1.1 200 OK\r\n\r\n', 'HTTP/1.1  200 OK\r\n\r\n',
  'HTTP/1.1 20 OK\r\n\r\n', 'HTTP/1.1 2000 OK\r\n\r\n', 'HTTP/1.1 099 OK\r\n\r\n', 'HTTP/1.1 +20 OK\r\n\r\n', 'HTTP/1.1\t200 OK\r\n\r\n',
  'HTTP/1.1 200 O\0K\r\n\r\n', 'HTTP/1.1 200 O\rK\r\n\r\n', ' HTTP/1.1 200 OK\r\n\r\n', '\r\nHTTP/1.1 200 OK\r\n\r\n', 'HTTP/1.1 200 OK\n\n',
  'HTTP/1.1 200 OK\nA: b\r\n\r\n', '<html>hello</html>\r\n\r\n', 'HTTP/1.1 2 0 OK\r\n\r\n', 'HTTP/11 200 OK\r\n\r\n', 'HTTP/1.1 200OK\r\n\r\n',
  'HTTP/0.9 200 OK\r\n\r\n', 'HTTP/1.10 200 OK\r\n\r\n', 'HTTP/1.1 200 OK\x7f\r\n\r\n', 'HTTP/1.1 200\r\n\r\n', 'GET / HTTP/1.1\r\n\r\n', 'ICY 200 OK\r\n\r\n',
  '\x16\x03\x01\x02\0\x01\0\r\n\r\n', 'HTTP/1.1 2\xb20 OK\r\n\r\n', 'HTTP/1,1 200 OK\r\n\r\n', 'HTTP/1.1 200 OK\r\r\n\r\n',
  // Field lines.
  `${ok}A : b\r\n\r\n`, `${ok} A: b\r\n\r\n`, `${ok}A: b\r\n c\r\n\r\n`, `${ok}A: b\r\n\tc\r\n\r\n`, `${ok}: b\r\n\r\n`, `${ok}A\r\n\r\n`,
  `${ok}A b: c\r\n\r\n`, `${ok}A\0: b\r\n\r\n`, `${ok}A: b\0c\r\n\r\n`, `${ok}A: b\rc\r\n\r\n`, `${ok}A: b\nC: d\r\n\r\n`, `${ok}A(b): c\r\n\r\n`,
  `${ok}A: \x7f\r\n\r\n`, `${ok}A: \x01\r\n\r\n`, `${ok}"A": b\r\n\r\n`, `${ok}A,B: c\r\n\r\n`, `${ok}Ä: c\r\n\r\n`, `${ok}A\t: b\r\n\r\n`, `${ok}A: b\r\r\n\r\n`,
  `${ok}A: b\r\n\r\r\n`, `${ok}A: b\n\r\n`, `${ok}A: b\x0b\r\n\r\n`, `${ok}A: b\x0c\r\n\r\n`, `${ok}A: b\x85\x00\r\n\r\n`,
  // Framing.
  `${ok}Content-Length: -1\r\n\r\n`, `${ok}Content-Length: +1\r\n\r\nx`, `${ok}Content-Length: 1 1\r\n\r\nx`, `${ok}Content-Length: 1,1\r\n\r\nx`,
  `${ok}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx`, `${ok}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy`, `${ok}Content-Length: 0x1\r\n\r\nx`,
  `${ok}Content-Length:\r\n\r\n`, `${ok}Content-Length: 1.0\r\n\r\nx`, `${ok}Content-Length: 9223372036854775808\r\n\r\n`, `${ok}Content-Length: one\r\n\r\n`,
  `${ok}Content-Length: 1;a\r\n\r\nx`, `${ok}Content-Length: 1e0\r\n\r\nx`, `${ok}Content-Length: \xb2\r\n\r\nxx`, `${ok}content-length: 0\r\nContent-Length: 0\r\n\r\n`,
  `${ok}Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n`, `${ok}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`,
  `${ok}Transfer-Encoding: gzip, chunked\r\n\r\n`, `${ok}Transfer-Encoding: identity\r\n\r\n`, `${ok}Transfer-Encoding: chunked, identity\r\n\r\n`,
  `${ok}Transfer-Encoding: xchunked\r\n\r\n`, `${ok}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`, `${ok}Transfer-Encoding: "chunked"\r\n\r\n`,
  `${ok}Transfer-Encoding: chunked, chunked\r\n\r\n`, `${ok}Transfer-Encoding:\r\n\r\n`, `${ok}Transfer-Encoding: chunked;q=1\r\n\r\n`, `${ok}Transfer-Encoding: ,chunked\r\n\r\n`,
  'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', 'HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\nabc', 'HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'HTTP/1.1 103 Early\r\nConnection: close\r\n\r\n', 'HTTP/1.0 103 Early\r\n\r\n', `${ok}Content-Length: 1\t\r\n\r\nx`, `${ok}Transfer-Encoding: chunked\t\r\n\r\n`,
  'HTTP/1.1 103 Early\r\nContent-Length: 3\r\n\r\nabc', 'HTTP/1.1 100 Go\r\nTransfer-Encoding: chunked\r\n\r\n',
  'HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n', 'HTTP/1.1 101 Switching\r\n\r\n',
  // The chunked coding.
  ...sizes.map((size) => `${chunked}${size}\r\nhello\r\n0\r\n\r\n`),
  `${chunked}5\r\nhelloX\r\n0\r\n\r\n`, `${chunked}5\r\nhello0\r\n\r\n`, `${chunked}5\r\nhello\n0\r\n\r\n`, `${chunked}5\r\nhello\r0\r\n\r\n`, `${chunked}5\nhello\r\n0\r\n\r\n`,
  `${chunked}\r\n5\r\nhello\r\n0\r\n\r\n`, `${chunked}0\r\nA : b\r\n\r\n`, `${chunked}0\r\nA: b\n\r\n`, `${chunked}0\r\nA\r\n\r\n`, `${chunked}0\r\nA: b\r\n c\r\n\r\n`,
  `${chunked}0\r\nContent-Length: 1\r\n\r\n`, `${chunked}0\r\ntransfer-encoding: chunked\r\n\r\n`, `${chunked}0\r\nA: \x01\r\n\r\n`, `${chunked}0\r\nA: b\rc\r\n\r\n`,
  `${chunked}5;${'x'.repeat(2000)}\r\nhello\r\n0\r\n\r\n`, `${chunked}0\r\nA: ${'x'.repeat(70_000)}\r\n\r\n`,
  `${chunked}${`1;${'x'.repeat(900)}\r\ny\r\n`.repeat(40)}0\r\n\r\n`,
  // Too much.
  `${ok}A: ${'x'.repeat(70_000)}\r\n\r\n`, `${ok}${'A: b\r\n'.repeat(600)}\r\n`, `HTTP/1.1 200 ${'x'.repeat(70_000)}\r\n\r\n`, 'HTTP/1.1 103 Early\r\n\r\n'.repeat(33)
]

/** Broken off by a clean end of the connection. */
export const truncated: readonly string[] = [
  `${ok}Content-Length: 9\r\n\r\npart`, `${ok}Content-Length: 9\r\n\r\n`, `${chunked}4\r\npart\r\n`, `${chunked}4\r\npar`, `${chunked}4`, chunked,
  `${chunked}4\r\npart\r\n0\r\n`, `${chunked}4\r\npart\r\n0`, `${chunked}0\r\nA: b\r\n`, `${chunked}4\r\npart`, `${chunked}4\r\npart\r\n0\r\n\r`
]
