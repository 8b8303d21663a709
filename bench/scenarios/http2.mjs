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
  remarks: 'The target is held against apps in one process, as for TLS; there the load is Node’s own client with ten streams at once on each connection. The sum takes off what proxying costs over HTTP/1.1, and that became less: by the same measurement on the same machine, before the short writes of a turn went together, it came to 1.09 (1.07–1.13), with 42.2 µs for the proxy over HTTP/1.1 where it takes 36.5 now, and 46.7 µs over HTTP/2 where it takes 48.1: Node sends the HTTP/2 frames of a turn together by itself, so nothing was to be won there. Of what proxying costs more over HTTP/2 than over HTTP/1.1, 6 µs, are beyond what it is for the bare proxy: in a profile they are spread over Node’s objects that stand for request and response, the fields made into an object and checked once more by `respond`, and the listeners of a stream; collections of garbage are 1.7 µs of a request, 0.9 with the bare proxy. The hello over HTTP/2 costs little more than the one over plain HTTP/1.1, as the frames of several streams share a record and a write.',
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
