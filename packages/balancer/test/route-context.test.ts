import Fastify, { type FastifyReply } from 'fastify'
import t from 'tap'
import { hasFields, setFields } from '../src/route-context.ts'

/** A reply of a Fastify that keeps its fields elsewhere, or in another way. */
function other (kept?: [key: symbol, fields: unknown]): FastifyReply {
  const fields = new Map<string, unknown>([['x-app', '1'], ['etag', '"1"']])
  return {
    ...kept !== undefined && { [kept[0]]: kept[1] },
    raw: { getHeaderNames: () => [] },
    getHeaders: () => Object.fromEntries(fields),
    header: (name: string, value: unknown) => { fields.set(name, value) },
    removeHeader: (name: string) => { fields.delete(name) }
  } as never
}

t.test("a reply's fields are looked at and set by Fastify's methods where they are not found otherwise", async (t) => {
  const check = (reply: FastifyReply, text: string): void => {
    t.equal(hasFields(reply), true, text)
    setFields(reply, { etag: '"2"', 'set-cookie': ['a=1', 'b=2'] })
    t.same(reply.getHeaders(), { etag: '"2"', 'set-cookie': ['a=1', 'b=2'] }, text)
  }
  check(other(), 'before Fastify was met')
  const app = Fastify()
  t.teardown(() => app.close())
  let key: symbol | undefined
  app.get('/', (_request, reply) => {
    key = Object.getOwnPropertySymbols(reply).find(({ description }) => description === 'fastify.reply.headers')
    t.equal(hasFields(reply), false)
    reply.raw.setHeader('x-raw', '1')
    reply.header('x-app', '1')
    t.equal(hasFields(reply), true)
    setFields(reply, { etag: '"2"' })
    t.same(reply.getHeaders(), { etag: '"2"' })
    return ''
  })
  t.equal((await app.inject('/')).headers.etag, '"2"')
  check(other(), 'another one in the same process')
  check(other([key!, new Map()]), 'kept otherwise')
})
