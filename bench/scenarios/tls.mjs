import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { measureBeside } from '../lib/beside.mjs'

const file = (name) => fileURLToPath(new URL(`../../packages/core/test/fixtures/${name}`, import.meta.url))
const tls = { key: file('key.pem'), cert: file('cert.pem') }
const secure = async (started) => ({ ...await started, scheme: 'https' })

export default {
  order: 90,
  name: 'tls',
  title: 'TLS 1.3 to clients',
  text: 'Small GET over 64 kept TLS connections, an ECDSA certificate; plain HTTP to the backend. Then a new connection for each request (`Connection: close`).',
  remarks: 'The target is held against apps in one process: the proxy and a hello over TLS, and the same two without, get bursts of 128 requests in turns of a few milliseconds, and the sum is made of each turn. As sums of four processes’ figures the rounds came out between 0.8 and 3.3, since each process has its own luck with V8. The barest proxy in Node has the same in a process of its own.',
  base: 'Fastify hello over TLS',
  cases: { kept: { path: '/small' }, 'new connections': { path: '/small', headers: { Connection: 'close' } } },
  targets: {
    headgate: ({ node }) => secure(node({ kind: 'headgate', tls })),
    'headgate without TLS': ({ node }) => node({ kind: 'headgate' }),
    'Fastify hello over TLS': ({ node }) => secure(node({ kind: 'hello', tls })),
    'Fastify hello without TLS': ({ node }) => node({ kind: 'hello' }),
    'bare proxy in Node': ({ node }) => secure(node({ kind: 'bare', tls })),
    'bare proxy without TLS': ({ node }) => node({ kind: 'bare' }),
    nginx: ({ nginx }) => secure(nginx({ tls })),
    haproxy: ({ haproxy, work }) => {
      const both = join(work, 'both.pem')
      writeFileSync(both, readFileSync(tls.cert, 'utf8') + readFileSync(tls.key, 'utf8'))
      return secure(haproxy({ tls: both }))
    }
  },
  async within (context) {
    const named = ['headgate', 'Fastify hello over TLS', 'headgate without TLS', 'Fastify hello without TLS']
    const { rows, checks, skipped } = await measureBeside({
      kept: { secured: { tls }, asked: {}, named },
      'new connections': { secured: { tls }, asked: { fresh: true }, named }
    }, 1.15, context)
    return { columns: ['in one process', 'proxy, TLS, µs', 'hello, TLS', 'proxy, plain', 'hello, plain', '(proxy, TLS − (proxy, plain − hello, plain)) / hello, TLS', 'lowest–highest round'], rows, checks, skipped }
  }
}
