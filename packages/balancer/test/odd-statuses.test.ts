import { once } from 'node:events'
import { connect } from 'node:http2'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import balancer from '../src/index.ts'
import { bodyOf, rawUpstream } from './helpers.ts'

/** An app that forwards to an upstream which answers 700. */
async function site (t: Test, http2: boolean, onSend: boolean): Promise<string> {
  const to = await rawUpstream(t, (socket) => { socket.write('HTTP/1.1 700 Odd\r\nContent-Length: 2\r\n\r\nok') })
  const app = Fastify({ http2, forceCloseConnections: true } as never)
  if (onSend) app.addHook('onSend', async (_request, _reply, payload) => payload)
  await app.register(balancer as never, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
}

t.test('a status beyond 599 becomes 502 where it cannot be sent: neither node:http2 nor Fastify takes it', async (t) => {
  for (const onSend of [false, true]) {
    const session = connect(await site(t, true, onSend))
    const stream = session.request({ ':path': '/' })
    const [fields] = await once(stream, 'response') as [Record<string, unknown>]
    t.equal(fields[':status'], 502, `HTTP/2, ${onSend ? 'a hook' : 'no hook'}`)
    t.equal((await bodyOf(stream as never)).toString(), 'ok')
    session.destroy()
  }
  t.equal((await fetch(await site(t, false, true))).status, 502, 'HTTP/1.1, a hook')
  t.equal((await fetch(await site(t, false, false))).status, 700, 'HTTP/1.1 without one can')
})
