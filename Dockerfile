# syntax=docker/dockerfile:1

ARG NODE_IMAGE=node:24.21.0-slim

# Compiles the sources. TypeScript's compiler is an optional package of its own, so optional packages are not left out.
FROM ${NODE_IMAGE} AS builder
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=cache,target=/root/.npm npm ci --include=dev --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
COPY cli ./cli
COPY verifier ./verifier
COPY packages ./packages
COPY examples ./examples
RUN npm run build

# Only what runs: no development packages, no embedded PostgreSQL (a container is given a database), no second Node.js.
FROM ${NODE_IMAGE} AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=cache,target=/root/.npm npm ci --omit=dev --omit=optional --ignore-scripts

FROM ${NODE_IMAGE} AS runtime
WORKDIR /app
COPY --from=packages /app/node_modules ./node_modules
COPY package.json LICENSE ./
COPY migrations ./migrations
COPY --from=builder /app/dist ./dist

ARG VERSION=""
ARG GIT_SHA="unknown"
ARG BUILD_TIME="unknown"
LABEL org.opencontainers.image.title="Talos Gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${GIT_SHA}" \
      org.opencontainers.image.created="${BUILD_TIME}"
ENV NODE_ENV="production" \
    PORT="8080" \
    TALOS_BIND_HOST="0.0.0.0" \
    TALOS_DATA_DIR="/tmp/talos" \
    VERSION="${VERSION}" \
    GIT_SHA="${GIT_SHA}" \
    BUILD_TIME="${BUILD_TIME}"

# By number, so that a platform that demands an unprivileged user can see that it is one. It owns no file of the image.
USER 1001:1001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["node", "-e", "const {env} = process; require(env.TALOS_TLS_CERT_FILE ? 'node:https' : 'node:http').get({host: '127.0.0.1', port: env.TALOS_GATEWAY_PORT || env.PORT, path: '/healthz', rejectUnauthorized: false}, ({statusCode}) => process.exit(statusCode === 200 ? 0 : 1)).on('error', () => process.exit(1))"]
CMD ["node", "--max-semi-space-size=16", "--min-semi-space-size=4", "dist/src/main.js"]
