import { AsyncLocalStorage } from 'node:async_hooks'
import t from 'tap'
import { get, listen, text } from './helpers.ts'

t.test('a request whose body is being encoded for another goes on in its own asynchronous context', async (t) => {
  const storage = new AsyncLocalStorage<string>()
  const seen: string[] = []
  const expected: string[] = []
  const { url } = await listen(t, {}, (app) => {
    app.addHook('onRequest', (request, _reply, done) => { storage.run(String(request.headers['x-id']), done) })
    for (const hook of ['onSend', 'onResponse'] as const) {
      app.addHook(hook as 'onResponse', async (request) => { seen.push(`${hook} ${String(request.headers['x-id'])} ${storage.getStore()}`) })
      for (let id = 0; id < 64; id++) expected.push(`${hook} ${id} ${id}`)
    }
    app.get('/:seed', async (request, reply) => reply.type('text/html').send(text(100_000, Number((request.params as { seed: string }).seed))))
  })
  await Promise.all(Array.from({ length: 64 }, (_, id) => get(`${url}/${id >> 3}`, { 'accept-encoding': 'gzip', 'x-id': String(id) })))
  while (seen.length < expected.length) await new Promise((resolve) => { setTimeout(resolve, 1) })
  t.same(seen.sort(), expected.sort())
})
