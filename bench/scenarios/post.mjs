export default {
  order: 60,
  name: 'post',
  title: 'Requests with a body of 1 KB, 100 KB, 10 MB',
  text: 'Streamed, with the replay buffer on; one upstream that reads the body and answers two bytes.',
  remarks: 'The upstream answers when it has read the whole body: one that answers at once would make those look best that pass on the least. Node’s HTTP server copies each piece of a body, up to 64 KB, into fresh memory, which costs more than the two system calls that pass it on: the rest of a body of which 128 KB or more are to come is read past that copy, into one buffer that is used again. A body of 100 KB is too short for that, and goes through the copy in every Node proxy: what the barest takes is the floor.',
  reads: true,
  base: 'reply-from',
  cases: {
    '1 KB': { method: 'POST', path: '/post', bodySize: 1024 },
    '100 KB': { method: 'POST', path: '/post', bodySize: 102_400 },
    '10 MB': { method: 'POST', path: '/post', bodySize: 10_485_760, connections: 8 }
  },
  targets: {
    headgate: ({ node }) => node({ kind: 'headgate' }),
    nginx: ({ nginx }) => nginx(),
    haproxy: ({ haproxy }) => haproxy(),
    'reply-from': ({ node }) => node({ kind: 'reply-from' }),
    'bare proxy in Node': ({ node }) => node({ kind: 'bare' })
  },
  expect: ['1 KB', '100 KB', '10 MB'].map((name) => ({ case: name, of: 'reply-from', atMost: 0.8 }))
}
