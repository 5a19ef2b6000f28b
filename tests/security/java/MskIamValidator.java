import java.net.URI;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.UnsupportedCallbackException;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallback;

/**
 * The broker's side of MSK's IAM login: a token is a request to connect, signed by the rules of Signature Version 4
 * (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html). Here one user exists; who it is comes
 * from the system properties iam.access_key, iam.secret_key and iam.region.
 */
public class MskIamValidator implements AuthenticateCallbackHandler {
    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC);
    private static final String EMPTY_BODY = hex(sha256(""));

    private final String accessKey = System.getProperty("iam.access_key");
    private final String secretKey = System.getProperty("iam.secret_key");
    private final String region = System.getProperty("iam.region");

    @Override
    public void configure(Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> entries) {}

    @Override
    public void close() {}

    @Override
    public void handle(Callback[] callbacks) throws UnsupportedCallbackException {
        for (Callback callback : callbacks) {
            if (!(callback instanceof OAuthBearerValidatorCallback asked)) {
                throw new UnsupportedCallbackException(callback);
            }
            try {
                asked.token(validated(asked.tokenValue()));
            } catch (RuntimeException refused) {
                asked.error("invalid_token", refused.getMessage(), null);
            }
        }
    }

    private OAuthBearerToken validated(String token) {
        URI url = URI.create(new String(Base64.getUrlDecoder().decode(token), StandardCharsets.UTF_8));
        String host = "kafka." + region + ".amazonaws.com";
        require(host.equals(url.getHost()) && "/".equals(url.getPath()), "not for " + host);
        TreeMap<String, String> parts = new TreeMap<>();
        for (String part : url.getRawQuery().split("&")) {
            String[] pair = part.split("=", 2);
            parts.put(decoded(pair[0]), decoded(pair[1]));
        }
        require(parts.getOrDefault("User-Agent", "").startsWith("delayq/"), "no agent");
        require("kafka-cluster:Connect".equals(parts.get("Action")), "not a request to connect");
        require("AWS4-HMAC-SHA256".equals(parts.get("X-Amz-Algorithm")), "another algorithm");
        String time = parts.get("X-Amz-Date");
        String scope = time.substring(0, 8) + "/" + region + "/kafka-cluster/aws4_request";
        require((accessKey + "/" + scope).equals(parts.get("X-Amz-Credential")), "another user or scope");
        Instant signed = TIME.parse(time, Instant::from);
        Instant ends = signed.plusSeconds(Long.parseLong(parts.get("X-Amz-Expires")));
        Instant now = Instant.now();
        require(signed.isBefore(now.plusSeconds(5)) && ends.isAfter(now), "not valid now");
        require(!ends.isAfter(signed.plusSeconds(900)), "valid for too long");
        require("host".equals(parts.get("X-Amz-SignedHeaders")), "other headers signed");

        String query = parts.entrySet().stream()
            .filter(part -> !Set.of("X-Amz-Signature", "User-Agent").contains(part.getKey()))
            .map(part -> encoded(part.getKey()) + "=" + encoded(part.getValue()))
            .collect(Collectors.joining("&"));
        String request = String.join("\n", "GET", "/", query, "host:" + host, "", "host", EMPTY_BODY);
        String toSign = String.join("\n", "AWS4-HMAC-SHA256", time, scope, hex(sha256(request)));
        byte[] key = ("AWS4" + secretKey).getBytes(StandardCharsets.UTF_8);
        for (String step : List.of(time.substring(0, 8), region, "kafka-cluster", "aws4_request")) {
            key = hmac(key, step);
        }
        require(hex(hmac(key, toSign)).equals(parts.get("X-Amz-Signature")), "the signature does not fit");
        return new Validated(token, accessKey, signed.toEpochMilli(), ends.toEpochMilli());
    }

    private record Validated(String value, String principalName, Long startTimeMs, long lifetimeMs) implements OAuthBearerToken {
        @Override
        public Set<String> scope() {
            return Set.of();
        }
    }

    private static void require(boolean holds, String otherwise) {
        if (!holds) {
            throw new IllegalArgumentException(otherwise);
        }
    }

    private static String decoded(String text) {
        return URLDecoder.decode(text.replace("+", "%2B"), StandardCharsets.UTF_8);
    }

    private static String encoded(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8).replace("+", "%20").replace("*", "%2A").replace("%7E", "~");
    }

    private static String hex(byte[] bytes) {
        return HexFormat.of().formatHex(bytes);
    }

    private static byte[] sha256(String text) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
        } catch (java.security.GeneralSecurityException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    private static byte[] hmac(byte[] key, String text) {
        try {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(key, "HmacSHA256"));
            return mac.doFinal(text.getBytes(StandardCharsets.UTF_8));
        } catch (java.security.GeneralSecurityException impossible) {
            throw new IllegalStateException(impossible);
        }
    }
}
