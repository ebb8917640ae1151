// A server and a client of grpc-go: `gogrpc serve ADDRESS NAME`, `gogrpc call ADDRESS KEY`. The server has health checks
// and reflection; its service is gRPC's own of health, and one of bytes that says who answered.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

var name string

func unary(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	asked := new(wrapperspb.StringValue)
	if err := decode(asked); err != nil {
		return nil, err
	}
	if asked.Value == "fail" {
		return nil, status.Error(codes.FailedPrecondition, "not now: \u00e4")
	}
	if asked.Value == "wait" {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	grpc.SetTrailer(ctx, metadata.Pairs("x-trailing", "2"))
	return wrapperspb.String(name + ":" + asked.Value), nil
}

func echo(_ any, stream grpc.ServerStream) error {
	for {
		asked := new(wrapperspb.StringValue)
		if err := stream.RecvMsg(asked); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(wrapperspb.String(name + ":" + asked.Value)); err != nil {
			return err
		}
	}
}

var service = grpc.ServiceDesc{
	ServiceName: "shop.Users",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Unary", Handler: unary}},
	Streams:     []grpc.StreamDesc{{StreamName: "Echo", Handler: echo, ServerStreams: true, ClientStreams: true}},
}

func serve(address string) {
	listening, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	server.RegisterService(&service, struct{}{})
	checks := health.NewServer()
	checks.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, checks)
	reflection.Register(server)
	log.Fatal(server.Serve(listening))
}

func expect(got any, err error, want string) {
	if fmt.Sprint(got) != want || err != nil {
		log.Fatalf("%v instead of %s: %v", got, want, err)
	}
}

func call(address, key string) {
	channel, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	var group sync.WaitGroup
	for number := range 200 {
		group.Add(1)
		go func() {
			defer group.Done()
			ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
			defer cancel()
			who := "base"
			if number%2 == 1 {
				ctx, who = metadata.AppendToOutgoingContext(ctx, "baggage", "routing-key="+key), "shadow"
			}
			answer, trailer := new(wrapperspb.StringValue), metadata.MD{}
			asked := wrapperspb.String(fmt.Sprint(number))
			err := channel.Invoke(ctx, "/shop.Users/Unary", asked, answer, grpc.Trailer(&trailer))
			expect(answer.Value, err, fmt.Sprintf("%s:%d", who, number))
			expect(trailer.Get("x-trailing"), nil, "[2]")
			stream, err := channel.NewStream(ctx, &service.Streams[0], "/shop.Users/Echo")
			for turn := range 20 {
				expect("", stream.SendMsg(wrapperspb.String(fmt.Sprint(turn))), "")
				err = stream.RecvMsg(answer)
				expect(answer.Value, err, fmt.Sprintf("%s:%d", who, turn))
			}
			expect("", stream.CloseSend(), "")
			expect(stream.RecvMsg(answer), nil, "EOF")
		}()
	}
	group.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	err = channel.Invoke(ctx, "/shop.Users/Unary", wrapperspb.String("fail"), new(wrapperspb.StringValue))
	expect(status.Convert(err).Message(), nil, "not now: \u00e4")
	soon, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	err = channel.Invoke(soon, "/shop.Users/Unary", wrapperspb.String("wait"), new(wrapperspb.StringValue))
	expect(status.Code(err), nil, "DeadlineExceeded")
	keyed := metadata.AppendToOutgoingContext(ctx, "baggage", "routing-key="+key)
	checked, err := grpc_health_v1.NewHealthClient(channel).Check(
		keyed, &grpc_health_v1.HealthCheckRequest{Service: "shadow"})
	expect(checked.GetStatus(), err, "SERVING")
	fmt.Println("200 calls and streams")
}

func main() {
	name = os.Args[3]
	if os.Args[1] == "serve" {
		serve(os.Args[2])
	}
	call(os.Args[2], os.Args[3])
}
