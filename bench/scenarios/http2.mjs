import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { measureBeside } from '../lib/beside.mjs'
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
  title: 'HTTP/2 to clients',
  text: 'Small GET by h2load over 7 kept TLS connections with 10 streams at once on each; plain HTTP/1.1 to the backend. The two without TLS are asked by HTTP/1.1.',
  remarks: 'The target is held against apps in one process, as for TLS; there the load is Node’s own client with ten streams at once on each connection. Since this table was made proxying over HTTP/2 became a twelfth cheaper: 107.8 and 98.8 µs, old and new in turns, on a machine half as fast, where a whole measurement then gave 1.25 (1.21–1.33) for headgate and 1.23 (1.16–1.38) for the barest proxy, which chooses, checks and bounds nothing. Elsewhere, with that code too, it is 1.25 beside 1.19 (1.16–1.30), and was 1.22 beside 1.32 (1.16–1.42) in the run before: in this run the least proxy in Node stays below the target, in all three later ones it does not, and headgate comes out as that does. What is above the hello, by the differences of CPU profiles scaled to the machine of this table, where 1.15 allows 3.3 µs: the two writes of a proxy go out with those of their turn over HTTP/1.1, while over HTTP/2 Node joins the client’s by itself and the upstream’s alone cost about 6 µs (3.6 more); heads with more fields than the hello’s four, through `respond`, its checks and HPACK (1.4 to 2.0); TLS, nghttp2 and the session’s writes (1.3 to 1.5); the fields as an object and the body’s copy (0.9); Fastify (0.5 to 1.2); Node’s objects for request and response (0.3 to 0.5); no HTTP/1.1 parser and head (1.2 less), and less garbage than in the hello’s own process (3.5 to 4 less). The first of these is what HTTP/1.1 has won by short writes that go together: before, with 42.2 µs for the proxy over HTTP/1.1 and 46.7 over HTTP/2, the same measurement gave 1.09. The hello over HTTP/2 costs little more than the one over plain HTTP/1.1, as the frames of several streams share a record and a write.',
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
  async within (context) {
    const { rows, checks, skipped } = await measureBeside({
      '': { secured: { tls, http2: true }, asked: {}, named: ['headgate', 'Fastify hello, HTTP/2', 'headgate, HTTP/1.1', 'Fastify hello, HTTP/1.1'] }
    }, 1.15, context)
    return { columns: ['in one process', 'proxy, HTTP/2, µs', 'hello, HTTP/2', 'proxy, HTTP/1.1', 'hello, HTTP/1.1', '(proxy, HTTP/2 − (proxy, HTTP/1.1 − hello, HTTP/1.1)) / hello, HTTP/2', 'lowest–highest round'], rows, checks, skipped }
  }
}
