import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Skip, find } from '../lib/system.mjs'

const file = (name) => fileURLToPath(new URL(`../../packages/core/test/fixtures/${name}`, import.meta.url))
const tls = { key: file('key.pem'), cert: file('cert.pem') }
const secure = async (started) => {
  if (find('h2load') === undefined) throw new Skip('h2load is not installed (Debian package nghttp2-client)')
  return { ...await started, scheme: 'https' }
}
const plain = { http2: false }

export default {
  order: 92,
  name: 'http2',
  more: { rounds: 3 },
  title: 'HTTP/2 to clients',
  text: 'Small GET by h2load over 7 kept TLS connections with 10 streams at once on each; plain HTTP/1.1 to the backend. The two without TLS are asked by HTTP/1.1.',
  remarks: 'Node’s HTTP/2 costs an app several times what its HTTP/1.1 does, with a proxy or without; compare what it adds to the barest proxy, which by the target\'s sum came to 1.22 in a run of the day before and to 1.17 on the other machine, and so is above it. The rounds of this run lie too far apart (0.82–3.26) to say more than that; by the lowest of eight rounds each, Headgate came to 1.10.',
  base: 'Fastify hello, HTTP/2',
  load: { path: '/small', http2: true, of: { 'headgate, HTTP/1.1': plain, 'Fastify hello, HTTP/1.1': plain, 'bare proxy, HTTP/1.1': plain } },
  targets: {
    headgate: ({ node }) => secure(node({ kind: 'headgate', tls, http2: true })),
    'headgate, HTTP/1.1': ({ node }) => node({ kind: 'headgate' }),
    'Fastify hello, HTTP/2': ({ node }) => secure(node({ kind: 'hello', tls, http2: true })),
    'Fastify hello, HTTP/1.1': ({ node }) => node({ kind: 'hello' }),
    'bare proxy in Node': ({ node }) => secure(node({ kind: 'bare', tls, http2: true })),
    'bare proxy, HTTP/1.1': ({ node }) => node({ kind: 'bare' }),
    nginx: ({ nginx }) => secure(nginx({ tls, http2: true })),
    haproxy: ({ haproxy, work }) => {
      const both = join(work, 'both.pem')
      writeFileSync(both, readFileSync(tls.cert, 'utf8') + readFileSync(tls.key, 'utf8'))
      return secure(haproxy({ tls: both, http2: true }))
    }
  },
  // What a bare app costs by HTTP/2, and what proxying costs by HTTP/1.1.
  expect: [{ of: 'Fastify hello, HTTP/2', own: ['headgate, HTTP/1.1', 'Fastify hello, HTTP/1.1'], atMost: 1.15 }]
}
