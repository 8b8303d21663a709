export const proxies = {
  headgate: ({ node }) => node({ kind: 'headgate' }),
  nginx: ({ nginx }) => nginx(),
  haproxy: ({ haproxy }) => haproxy(),
  'reply-from': ({ node }) => node({ kind: 'reply-from' }),
  '@fastify/http-proxy': ({ node }) => node({ kind: 'fastify-http-proxy' }),
  'http-proxy': ({ node }) => node({ kind: 'http-proxy' })
}

export default {
  order: 10,
  name: 'small-get',
  title: 'Small GET, three upstreams',
  text: 'A JSON of 120 bytes over 64 kept connections; default policy, passive health on, logger off. The other Node proxies have one upstream, nginx and HAProxy the same three.',
  remarks: '‘bare proxy in Node’ is the floor: Node’s HTTP server and one connection to the upstream, with heads passed on as they come and nothing of what makes a proxy safe or useful. It took 1.5 times what nginx takes in this run, so less than 0.2 × nginx is left for choice, checks, heads and accounting. One process of the same code can be a third dearer than the next, for as long as it lives: in this run each target was one for all rounds, elsewhere each round has new ones, as it has from now on. Two reads and two writes a request are all system calls that headgate makes beyond waiting, the same as a pass-through of bytes; they are half of its time. The short writes of one turn of the event loop, to clients and to upstreams, are made one after the other at its end, which took a tenth to a fifth off under this load (38.3 to 29.2 µs, old and new in turns): each by itself wakes a peer that has gone to sleep since the last one. That comes about where client, proxy and upstream share a machine, as here; how much of it is left between machines was not measured. With one connection at a time it costs 1.4 µs more. Elsewhere the bare proxy takes 1.9 times what nginx takes, more than the target leaves for all of headgate.',
  backends: 3,
  load: { path: '/small' },
  base: 'reply-from',
  // One process of the same code can be a third dearer than the next, for as long as it lives.
  fresh: true,
  targets: { ...proxies, 'bare proxy in Node': ({ node }) => node({ kind: 'bare' }), 'TCP pass-through in Node': ({ node }) => node({ kind: 'tcp' }), 'Fastify hello, no proxy': ({ node }) => node({ kind: 'hello' }) },
  expect: [
    { of: 'reply-from', atMost: 0.60 },
    { of: '@fastify/http-proxy', atMost: 0.50 },
    { of: 'nginx', atMost: 1.7 }
  ]
}
