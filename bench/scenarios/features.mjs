import { join } from 'node:path'

export default {
  order: 30,
  name: 'features',
  title: 'What features add',
  text: 'Small GET through three upstreams with one thing more each time: active health checks, a sticky cookie (clients bring the one that they were given), metrics, an access log to a file; and what Fastify\'s logger adds to a route that answers by itself.',
  remarks: 'The sticky cookie comes with each request, so its binding is checked and nothing is signed, and all go to one of the three upstreams. Metrics need an `onResponse` hook; what an empty one costs is shown beside them. The rest is not explained: a profile shows less than 1 µs in the code that counts, and 2.5 µs more in `process.nextTick`. The access log carries the upstream, the attempts and the time, and its lines share a core with three times the work of a hello.',
  backends: 3,
  load: { path: '/small', cookies: true },
  base: 'headgate',
  targets: {
    headgate: ({ node }) => node({ kind: 'headgate' }),
    'headgate + health': ({ node }) => node({ kind: 'headgate', features: ['health'] }),
    'headgate + sticky': ({ node }) => node({ kind: 'headgate', features: ['sticky'] }),
    'headgate + metrics': ({ node }) => node({ kind: 'headgate', features: ['metrics'] }),
    'headgate + empty hook': ({ node }) => node({ kind: 'headgate', features: ['hook'] }),
    'headgate + log': ({ node, work }) => node({ kind: 'headgate', log: join(work, 'headgate.log') }),
    hello: ({ node }) => node({ kind: 'hello' }),
    'hello + log': ({ node, work }) => node({ kind: 'hello', log: join(work, 'hello.log') })
  },
  expect: [
    { what: 'headgate + sticky', of: 'headgate', adds: 1.5 },
    { what: 'headgate + metrics', of: 'headgate', adds: 1.5 },
    { what: 'headgate + log', of: 'headgate', addsAs: ['hello + log', 'hello'], atMost: 1.1 }
  ]
}
