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
  remarks: '‘bare proxy in Node’ is the floor: Node’s HTTP server and one connection to the upstream, with heads passed on as they come and nothing of what makes a proxy safe or useful. It took 1.8 to 2.05 times what nginx takes, so the target of 1.70 is below it. Each round has new processes: one of the same code can be a third dearer than the next, for as long as it lives; over five new processes the version of the day before cost the same (1.00). Two reads and two writes a request are all system calls that headgate makes beyond waiting, the same as a pass-through of bytes; they are two fifths of its time. Of the rest, a quarter of the whole is Node’s HTTP server and streams, a fifth Headgate’s own code (checks, heads, choice, accounting), 3 % Fastify.',
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
