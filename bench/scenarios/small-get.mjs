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
  remarks: 'The machine was shared with other work while this was measured (nginx took 43 µs a request where a quiet one takes 13.5), which is hard on whoever has much code and data: Fastify without any proxy took 1.1 times what nginx took. What a profile shows is left: two reads and two writes, which no proxy can do without, are half of it; Node’s HTTP server and streams and Fastify a quarter, Headgate’s own code a seventh (reading and writing heads, the choice, accounting).',
  backends: 3,
  load: { path: '/small' },
  base: 'reply-from',
  targets: { ...proxies, 'bare proxy in Node': ({ node }) => node({ kind: 'bare' }), 'TCP pass-through in Node': ({ node }) => node({ kind: 'tcp' }), 'Fastify hello, no proxy': ({ node }) => node({ kind: 'hello' }) },
  expect: [
    { of: 'reply-from', atMost: 0.60 },
    { of: '@fastify/http-proxy', atMost: 0.50 },
    { of: 'nginx', atMost: 1.7 }
  ]
}
