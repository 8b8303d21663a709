import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const file = (name) => fileURLToPath(new URL(`../../packages/core/test/fixtures/${name}`, import.meta.url))
const tls = { key: file('key.pem'), cert: file('cert.pem') }
const secure = async (started) => ({ ...await started, scheme: 'https' })

export default {
  order: 90,
  name: 'tls',
  more: { rounds: 3 },
  title: 'TLS 1.3 to clients',
  text: 'Small GET over 64 kept TLS connections, an ECDSA certificate; plain HTTP to the backend. Then a new connection for each request (`Connection: close`).',
  remarks: 'A proxy pays more for TLS than a hello does, as what it runs between two records is no longer in the processor’s caches and Node’s stream functions see two kinds of sockets: the barest proxy in Node shows how much of it no code of ours can save: by the target\'s sum it came to about 1.2 with kept connections in this run, and to 1.34 in one of the day before, where Headgate came to 1.08. The rounds lie too far apart (0.95–2.93) to say more.',
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
  // What a bare app costs over TLS, and what proxying costs without it.
  expect: ['kept', 'new connections'].map((name) => ({ case: name, of: 'Fastify hello over TLS', own: ['headgate without TLS', 'Fastify hello without TLS'], atMost: 1.15 }))
}
