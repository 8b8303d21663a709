/** The barest proxy reads on into what it is writing, so it is asked for no more than the system takes at once. */
const LARGE = ['headgate', 'nginx', 'nginx, no buffering', 'nginx, large buffers', 'haproxy', 'reply-from', 'TCP pass-through in Node']

export default {
  order: 50,
  name: 'sizes',
  title: 'Responses of 10 KB to 10 MB',
  text: 'One upstream. nginx with its default buffers, without buffering, and with buffers large enough that nothing goes to a file. How long clients wait is asked once more with the connections open: by h2load over HTTP/1.1, after a second that is not counted.',
  remarks: 'Reads of up to 256 KB into a buffer that is used again, written out without a copy; up to 15 KB a body goes out in one string with its head. At 10 KB the price of a small request still dominates (see there): what is left is above nginx because that is, and the barest proxy in Node, which chooses, checks and bounds nothing, came to 1.3 to 1.7. At 100 KB Headgate and that one make the same four system calls for a request, two reads and two writes, and of the rest but a few µs can differ. At 1 and 10 MB the kernel takes four fifths of the time, half of that for copying each byte in and out; a buffer of twice the size took a tenth less, and made p99 of 10 MB three times as long, as one connection then has the event loop for longer. Latencies here are wrk’s, of rounds that begin with the opening of all connections: p99 came to 2.4 (1.5–3.5), 2.1 (1.4–2.8), 0.44 (0.25–0.55) and 0.61 (0.52–0.73) × nginx’s for 10 KB, 100 KB, 1 MB and 10 MB, where it should be no worse. Why that is not what a client waits for, and what is, is measured by itself, below.',
  base: 'nginx',
  cases: {
    '10 KB': { path: '/10k' },
    '100 KB': { path: '/100k' },
    '1 MB': { path: '/1m', connections: 32, only: LARGE },
    '10 MB': { path: '/10m', connections: 16, only: LARGE }
  },
  targets: {
    headgate: ({ node }) => node({ kind: 'headgate' }),
    nginx: ({ nginx }) => nginx(),
    'nginx, no buffering': ({ nginx }) => nginx({ location: 'proxy_buffering off;' }),
    'nginx, large buffers': ({ nginx }) => nginx({ location: 'proxy_buffers 16 1m; proxy_buffer_size 64k; proxy_busy_buffers_size 2m;' }),
    haproxy: ({ haproxy }) => haproxy(),
    'reply-from': ({ node }) => node({ kind: 'reply-from' }),
    'bare proxy in Node': ({ node }) => node({ kind: 'bare' }),
    'TCP pass-through in Node': ({ node }) => node({ kind: 'tcp' })
  },
  expect: [
    { case: '10 KB', of: 'nginx', atMost: 1.35 },
    { case: '100 KB', of: 'nginx', atMost: 0.65 },
    { case: '1 MB', of: 'nginx', atMost: 0.70 },
    { case: '10 MB', of: 'nginx', atMost: 0.70 },
    { case: '1 MB', of: 'haproxy', atMost: 0.8 },
    { case: '10 MB', of: 'haproxy', atMost: 0.8 }
  ]
}
