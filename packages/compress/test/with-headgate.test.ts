import balancer from '@headgate/balancer'
import cache from '@headgate/cache'
import stickySession from '@headgate/sticky-session'
import Fastify from 'fastify'
import t from 'tap'
import compress, { type StaticMessage, channels } from '../src/index.ts'
import { decoded, get, text, upstream } from './helpers.ts'

const body = text(20_000)

t.test('with the cache in front: one stored body, encoded once for each coding, with the right fields on hits', async (t) => {
  let asked = 0
  const codings: unknown[] = []
  const to = await upstream(t, (request, response) => {
    asked++
    codings.push(request.headers['accept-encoding'])
    response.setHeader('content-type', 'text/html').setHeader('cache-control', 'max-age=60').setHeader('etag', '"v1"').end(body)
  })
  const made: StaticMessage[] = []
  const heard = (message: unknown): void => { made.push(message as StaticMessage) }
  channels.static.subscribe?.(heard)
  t.teardown(() => { channels.static.unsubscribe?.(heard) })
  for (const etag of ['weak', 'suffix'] as const) {
    asked = made.length = 0
    const app = Fastify({ forceCloseConnections: true })
    await app.register(cache)
    await app.register(compress, { etag, load: false, backgroundShare: 1, memo: false, upstream: 'identity' })
    await app.register(balancer, { pools: { web: [to] }, routes: [{ prefix: '/', pool: 'web' }] })
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    t.teardown(() => app.close())
    for (let round = 0; round < 3; round++) {
      for (const encoding of ['gzip', 'br', 'identity']) {
        const answer = await get(url, { 'accept-encoding': encoding })
        t.equal(answer.headers['content-encoding'], encoding === 'identity' ? undefined : encoding)
        t.equal(answer.headers.etag, encoding === 'identity' ? '"v1"' : etag === 'weak' ? 'W/"v1"' : `"v1~${encoding}"`)
        t.match(answer.headers.vary, /^accept-encoding$/i)
        t.equal(Number(answer.headers['content-length']), answer.body.length)
        t.equal(decoded(answer).toString(), body)
      }
    }
    t.equal(asked, 1, 'the upstream was asked once')
    t.equal(codings.at(-1), 'identity')
    // Both are made in the background, once, however many asked meanwhile.
    while (made.length < 2) await get(url, { 'accept-encoding': 'br' })
    for (let i = 0; i < 5; i++) t.equal(decoded(await get(url, { 'accept-encoding': 'gzip' })).toString(), body)
    t.same(made.map(({ encoding }) => encoding).sort(), ['br', 'gzip'])
    t.equal((await get(url, { 'accept-encoding': 'gzip', 'if-none-match': etag === 'weak' ? 'W/"v1"' : '"v1~gzip"' })).status, 304)
  }
})

t.test('with sticky sessions: the client keeps its upstream, and the cookie is there', async (t) => {
  const names = ['a', 'b', 'c']
  const upstreams = await Promise.all(names.map((name) => upstream(t, (_request, response) => {
    response.setHeader('content-type', 'text/html').setHeader('x-name', name).end(body)
  })))
  const app = Fastify({ forceCloseConnections: true })
  await app.register(compress, { load: false })
  await app.register(balancer, { pools: { web: upstreams }, routes: [{ prefix: '/', pool: 'web' }] })
  await app.register(stickySession, { keys: ['a secret of more than thirty-two bytes for this'] })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const first = await get(url, { 'accept-encoding': 'gzip' })
  const cookie = first.headers['set-cookie']![0]!.split(';')[0]!
  for (let i = 0; i < 9; i++) {
    const answer = await get(url, { 'accept-encoding': 'gzip', cookie })
    t.equal(answer.headers['x-name'], first.headers['x-name'])
    t.equal(answer.headers['content-encoding'], 'gzip')
    t.equal(decoded(answer).toString(), body)
  }
})
