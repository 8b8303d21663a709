export default {
  order: 60,
  name: 'post',
  title: 'Requests with a body of 1 KB, 100 KB, 10 MB',
  text: 'Streamed, with the replay buffer on; one upstream that reads the body and answers two bytes.',
  remarks: 'The upstream answers when it has read the whole body: one that answers at once would make those look best that pass on the least. Node’s HTTP server copies each piece of a body, up to 64 KB, into memory of its own. Left to the collector, tens of megabytes of it are together several times a second, and V8 may mark the whole heap each time, which then costs more than all the rest of the request: whether a process gets into that is a matter of chance, and it is the dearer, the larger the heap. Headgate gives a piece’s memory back once the system has it, and the next piece gets the same again: of up to fifteen such collections a second none is left, and nearly no page faults. malloc told to keep its memory (MALLOC_TRIM_THRESHOLD_ in the environment), which took a third off before, then brings nothing. The rest of a body of which 128 KB or more are to come is read past that copy, into one buffer that is used again: a quarter less at 1 and 10 MB than by giving memory back alone.',
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
