import { createHash } from 'node:crypto'
import { Agent } from 'node:https'
import { rootCertificates } from 'node:tls'
import type * as Acme from 'acme-client'
import { readPem } from '../pem.ts'
import { type AcmeCertificateOptions, type AcmeOptions, LETS_ENCRYPT } from './options.ts'
import type { CertificateStorage } from './storage.ts'

/** Asks the authority for a certificate by the protocol of RFC 8555; gives key and chain in one PEM. Rejects with its reason. */
export async function order (certificate: AcmeCertificateOptions, options: AcmeOptions, storage: CertificateStorage): Promise<string> {
  // Only who orders loads it: it brings an HTTP client along.
  const { default: acme } = await import('acme-client') as unknown as { default: typeof Acme }
  const directoryUrl = options.directory ?? LETS_ENCRYPT
  const authority = createHash('sha256').update(directoryUrl).digest('hex').slice(0, 16)
  const accountKey = await storage.accountKey(authority, () => acme.crypto.createPrivateEcdsaKey())
  const client = new acme.Client({
    directoryUrl,
    accountKey,
    backoffMin: 1000,
    ...options.externalAccount !== undefined && { externalAccountBinding: options.externalAccount }
  })
  if (options.ca !== undefined) trust(client, await readPem(options.ca))
  try {
    await client.createAccount({ termsOfServiceAgreed: true, ...options.email !== undefined && { contact: [`mailto:${options.email}`] } })
  } catch (error) {
    // For an account that is there the library goes on to change nothing in it, which authorities may refuse; known it is all the same.
    if (!isKnown(client)) throw error
  }
  const hosts = certificate.hosts.map((host) => host.toLowerCase())
  const [key, csr] = await acme.crypto.createCsr({ altNames: hosts }, await acme.crypto.createPrivateEcdsaKey())
  const type = options.challenge ?? 'tls-alpn-01'
  const chain = await client.auto({
    csr,
    // The library would ask port 80 or 443 of the hosts itself; only the authority's view counts.
    skipChallengeVerification: true,
    challengePriority: [type],
    async challengeCreateFn (authorization, challenge, keyAuthorization) {
      if (challenge.type === 'http-01') return storage.saveToken(challenge.token, keyAuthorization)
      const [proofKey, proof] = await acme.crypto.createAlpnCertificate(authorization, keyAuthorization, await acme.crypto.createPrivateEcdsaKey())
      await storage.saveProof(authorization.identifier.value, `${proofKey.toString()}\n${proof.toString()}`)
    },
    challengeRemoveFn: (authorization, challenge) =>
      challenge.type === 'http-01' ? storage.dropToken(challenge.token) : storage.dropProof(authorization.identifier.value)
  })
  return `${key.toString()}\n${chain}`
}

function isKnown (client: Acme.Client): boolean {
  try {
    return client.getAccountUrl() !== ''
  } catch {
    return false
  }
}

/** The library has no option for it: its client's one function for requests is given an agent. */
function trust (client: object, ca: Buffer): void {
  type Request = (url: string, method: string, options?: object) => Promise<unknown>
  const { http } = client as { http: { request: Request } }
  const { request } = http
  const httpsAgent = new Agent({ ca: [...rootCertificates, ca] })
  http.request = (url, method, options = {}) => request.call(http, url, method, { ...options, httpsAgent })
}
