// Receives files: verifies each signature, and puts each body under its webhook-id into the directory INBOX.
import com.sun.net.httpserver.Headers;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.*;
import java.security.*;
import java.time.Instant;
import java.util.*;
import java.util.concurrent.Executors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Receiver {
    static final Path INBOX = Path.of(System.getenv("INBOX"));
    static final byte[] SECRET = Base64.getDecoder().decode(System.getenv("WEBHOOK_SECRET").replaceFirst("^whsec_", ""));
    static final int MAX_BODY = 1 << 20;

    static boolean isSigned(Headers headers, byte[] body) throws GeneralSecurityException {
        String id = headers.getFirst("webhook-id"), seconds = headers.getFirst("webhook-timestamp");
        String given = headers.getFirst("webhook-signature");
        if (id == null || given == null || seconds == null || !seconds.matches("[0-9]{1,12}")) return false;
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(SECRET, "HmacSHA256"));
        mac.update((id + "." + seconds + ".").getBytes());
        byte[] expected = ("v1," + Base64.getEncoder().encodeToString(mac.doFinal(body))).getBytes();
        boolean matches = false;
        for (String one : given.split(" ")) matches |= MessageDigest.isEqual(expected, one.getBytes());
        return matches && Math.abs(Instant.now().getEpochSecond() - Long.parseLong(seconds)) <= 300;
    }

    // Every attempt has the same id and the same bytes: the second time changes nothing.
    static void keep(String id, byte[] body) throws IOException {
        Path path = Files.createTempFile(INBOX, ".", "");
        try (FileChannel file = FileChannel.open(path, StandardOpenOption.WRITE)) {
            for (ByteBuffer left = ByteBuffer.wrap(body); left.hasRemaining(); ) file.write(left);
            file.force(true);
        }
        Files.move(path, INBOX.resolve(id), StandardCopyOption.ATOMIC_MOVE);
    }

    static void receive(HttpExchange exchange) throws IOException {
        int status = 500;
        String answer = "{\"error\":\"it is not known whether it was taken\"}";
        byte[] body = exchange.getRequestBody().readNBytes(MAX_BODY + 1);
        try {
            if (body.length > MAX_BODY) {
                status = 413;
                answer = "{\"error\":\"the body is too large\"}";
            } else if (!isSigned(exchange.getRequestHeaders(), body)) {
                status = 401;
                answer = "{\"error\":\"the signature is missing, wrong or too old\"}";
            } else {
                keep(exchange.getRequestHeaders().getFirst("webhook-id"), body);
                String digest = HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(body));
                status = 200;
                answer = "{\"result\":\"ok\",\"received_digest\":\"sha256:" + digest + "\"}";
            }
        } catch (IOException | GeneralSecurityException e) {
            System.err.println(e);
        }
        exchange.getResponseHeaders().set("content-type", "application/json");
        exchange.sendResponseHeaders(status, answer.length());
        exchange.getResponseBody().write(answer.getBytes());
        exchange.close();
    }

    public static void main(String[] arguments) throws IOException {
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "8492"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 64);
        server.createContext("/", Receiver::receive);
        server.setExecutor(Executors.newFixedThreadPool(16));
        server.start();
        System.out.println("http://127.0.0.1:" + server.getAddress().getPort() + "/");
    }
}
