import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.concurrent.CompletableFuture;
import java.util.stream.IntStream;

/** Calls URL 50 times at once with the client of the JDK, which wishes to upgrade to h2c: `java Call.java URL KEY`. */
class Call {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_2).build();
        CompletableFuture<?>[] calls = IntStream.range(0, 50).mapToObj(number -> {
            HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(arguments[0]));
            if (number % 2 == 1) request.header("baggage", "routing-key=" + arguments[1]);
            if (number % 5 == 0) request.POST(HttpRequest.BodyPublishers.ofString("j".repeat(number * 1000)));
            return client.sendAsync(request.build(), HttpResponse.BodyHandlers.ofString()).thenAccept(answer -> {
                String served = answer.headers().firstValue("skycap-served-by").orElse("");
                boolean shadow = served.equals("shop/users;sandbox=" + arguments[1] + ";rev=1");
                if (answer.statusCode() != 200 || shadow != (number % 2 == 1) || answer.version() != HttpClient.Version.HTTP_1_1)
                    throw new IllegalStateException(answer + " by " + served);
            });
        }).toArray(CompletableFuture[]::new);
        CompletableFuture.allOf(calls).join();
        System.out.println("50 calls over HTTP/1.1");
    }
}
