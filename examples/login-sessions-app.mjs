// An ordinary application with a login form that keeps its sessions in its own memory. Arguments: its name, and where its pages are
// ('' unless it is given).
import { randomBytes } from 'node:crypto'
import cookie from '@fastify/cookie'
import session from '@fastify/session'
import fastify from 'fastify'

const [name, base = ''] = process.argv.slice(2)
const escape = (text) => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
const page = (body) => `<!doctype html><title>Sessions</title><p>This is process ${name}.</p>${body}\n`

const app = fastify({ forceCloseConnections: true })
await app.register(cookie)
await app.register(session, { secret: randomBytes(32).toString('hex'), cookie: { secure: false }, saveUninitialized: false })
app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, body, done) => {
  done(null, Object.fromEntries(new URLSearchParams(body)))
})

app.get(`${base}/`, (request, reply) => {
  const { user } = request.session
  return reply.type('text/html').send(page(user === undefined
    ? `<form method="post" action="${base}/login"><input name="user" required placeholder="Your name"><button>Log in</button></form>`
    : `<p>Hello ${escape(user)}, you are logged in.</p><form method="post" action="${base}/logout"><button>Log out</button></form>`))
})
app.post(`${base}/login`, (request, reply) => {
  request.session.user = String(request.body.user).slice(0, 100)
  return reply.redirect(`${base}/`, 303)
})
app.post(`${base}/logout`, async (request, reply) => {
  await request.session.destroy()
  return reply.redirect(`${base}/`, 303)
})

await app.listen({ host: '127.0.0.1', port: 0 })
process.send({ port: app.server.address().port })
process.on('disconnect', () => process.exit(0))
