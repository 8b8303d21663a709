import { join } from 'node:path'

export default {
  order: 30,
  name: 'features',
  title: 'What features add',
  text: 'Small GET through three upstreams with one thing more each time: active health checks, a sticky cookie (clients bring the one that they were given), metrics, an access log to a file; and what Fastify\'s logger adds to a route that answers by itself, and to bare `@fastify/reply-from`.',
  remarks: 'What a feature adds is less than what two processes that run the same differ by: ‘headgate once more’ is the first target a second time, and each round has new processes of all. So profiles have to tell. The sticky cookie comes with each request, so it is found among those whose signature was checked before, and all go to one of the three upstreams. What any other cookie costs on the way to a single upstream is shown beside it; in a profile the plugin takes 2 % of a request, and Node\'s parsing of one field more 0.7 %, together some 1.5 µs. Metrics need an `onResponse` hook, and what an empty one costs is shown too: it is the larger part of what they add, as to count takes 0.3 µs. Until Headgate kept one tick\'s object alive, Node 20 lost the hidden class of these objects in nearly every process with metrics, which made each `process.nextTick` 0.2 µs dearer, nine times a request; bare `@fastify/reply-from` meets that too. The access log is the two lines of Fastify\'s own logger, one of them with upstream, attempts and time. In a profile the lines take 14.6 % of a request and those three fields 1.5 %. The same two lines cost `@fastify/reply-from` 1.4 × what they cost a hello, whose code and data stay in the core\'s caches: that is the floor, to which the three fields add some 0.15.',
  backends: 3,
  load: { path: '/small', cookies: true, of: { 'one upstream, a cookie': { headers: { Cookie: `other=${'x'.repeat(80)}` } } } },
  base: 'headgate',
  fresh: true,
  targets: {
    headgate: ({ node }) => node({ kind: 'headgate' }),
    'headgate once more': ({ node }) => node({ kind: 'headgate' }),
    'headgate + health': ({ node }) => node({ kind: 'headgate', features: ['health'] }),
    'headgate + sticky': ({ node }) => node({ kind: 'headgate', features: ['sticky'] }),
    'one upstream, a cookie': ({ node, ports }) => node({ kind: 'headgate', ports: ports.slice(0, 1) }),
    'headgate + metrics': ({ node }) => node({ kind: 'headgate', features: ['metrics'] }),
    'headgate + empty hook': ({ node }) => node({ kind: 'headgate', features: ['hook'] }),
    'headgate + log': ({ node, work }) => node({ kind: 'headgate', log: join(work, 'headgate.log') }),
    hello: ({ node }) => node({ kind: 'hello' }),
    'hello + log': ({ node, work }) => node({ kind: 'hello', log: join(work, 'hello.log') }),
    'reply-from': ({ node }) => node({ kind: 'reply-from' }),
    'reply-from + log': ({ node, work }) => node({ kind: 'reply-from', log: join(work, 'reply-from.log') })
  },
  expect: [
    { what: 'headgate + sticky', of: 'headgate', adds: 1.5 },
    { what: 'headgate + metrics', of: 'headgate', adds: 1.5 },
    { what: 'headgate + log', of: 'headgate', addsAs: ['hello + log', 'hello'], atMost: 1.1 }
  ]
}
