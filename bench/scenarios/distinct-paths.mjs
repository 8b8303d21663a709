import { proxies } from './small-get.mjs'

export default {
  order: 20,
  name: 'distinct-paths',
  title: 'A different path each request',
  text: 'As above, but `/item/N` with 100,000 of them in turn, beside one and the same path.',
  backends: 3,
  base: 'headgate',
  cases: {
    'one path': { path: '/item/1' },
    '100,000 paths': { path: '/item/', distinct: 100_000 }
  },
  targets: { headgate: proxies.headgate, nginx: proxies.nginx, 'reply-from': proxies['reply-from'], '@fastify/http-proxy': proxies['@fastify/http-proxy'] },
  /** Over the two cases. */
  expect: [{ case: '100,000 paths', of: 'headgate', ofCase: 'one path', atMost: 1.05 }]
}
